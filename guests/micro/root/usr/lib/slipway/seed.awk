# Takes over what a NoCloud seed says. Files: meta-data, vendor-data, /etc/shadow.
# Understands what the portal writes: top-level keys, one scalar a line, JSON-quoted or plain, and a list of SSH keys.
# Exits with 1, and changes nothing, when this instance-id has been applied before.

function scalar(text) {
  sub(/^[ \t]+/, "", text)
  sub(/[ \t\r]+$/, "", text)
  if (text ~ /^".*"$/) {
    text = substr(text, 2, length(text) - 2)
    gsub(/\\\\/, "\001", text)
    gsub(/\\"/, "\"", text)
    gsub(/\\\//, "/", text)
    gsub(/\001/, "\\", text)
  }
  return text
}

BEGIN { FS = OFS = ":" }

FILENAME == "/etc/shadow" {
  if ($1 == "slipway") $2 = value["password"] != "" ? value["password"] : "*"
  shadow = shadow $0 "\n"
  next
}
/^[a-z-]+:/ {
  section = $1
  value[section] = scalar(substr($0, length(section) + 2))
  next
}
section == "public-keys" && /^[ \t]*-[ \t]/ {
  sub(/^[ \t]*-/, "")
  keys = keys scalar($0) "\n"
}

END {
  state = "/var/lib/slipway/instance-id"
  getline applied < state
  close(state)
  if (value["instance-id"] == "" || value["instance-id"] == applied) exit 1
  if (value["local-hostname"] != "") {
    print value["local-hostname"] > "/etc/hostname"
    printf "127.0.0.1 localhost\n127.0.1.1 %s\n::1 localhost ip6-localhost\n", value["local-hostname"] > "/etc/hosts"
  }
  printf "%s", keys > "/home/slipway/.ssh/authorized_keys"
  printf "%s", shadow > "/run/shadow"
  print value["instance-id"] > state
}
