"""The door to pages is the same everywhere: accounts.door."""

from accounts.door import act, answer, by_script, next_url, page, reader, refused, staff_only

__all__ = ["act", "answer", "by_script", "next_url", "page", "reader", "refused", "staff_only"]
