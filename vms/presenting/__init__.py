"""What pages and pushed fragments say: figures, gauges and machines put into words, without any markup."""
