# Prints the value of `key` at the top level of a flat YAML file: its scalar, or the items of its list, one a line.
function scalar(text) {
  sub(/^[ \t]+/, "", text)
  sub(/[ \t\r]+$/, "", text)
  if (text ~ /^".*"$/) {
    text = substr(text, 2, length(text) - 2)
    gsub(/\\\\/, "\001", text)
    gsub(/\\"/, "\"", text)
    gsub(/\\\//, "/", text)
    gsub(/\001/, "\\", text)
  } else if (text ~ /^'.*'$/) {
    text = substr(text, 2, length(text) - 2)
    gsub(/''/, "'", text)
  }
  return text
}
/^[^ \t#-][^:]*:/ {
  name = $0
  sub(/:.*/, "", name)
  value = substr($0, length(name) + 2)
  inside = (name == key)
  if (inside && scalar(value) != "") { print scalar(value); exit }
  next
}
inside && /^[ \t]*-[ \t]/ {
  sub(/^[ \t]*-[ \t]+/, "")
  print scalar($0)
}
