# upgrade/script.awk: the statements of a newer installation script that an older
# one has not, as an upgrade script: what the older one knows in another form is
# replaced. Works on what both versions create from nothing; what cannot be
# derived from that is written by hand (upgrade/FROM.sql):
#
#   - a table, index or sequence that is there and changed: ALTER
#   - a function whose arguments or result changed, and whatever is gone: DROP
#
# test/dump/upgrade.sh tells what is missing.
#
#   awk -f script.awk old.sql new-parts...

# The text up to the next end of a statement, less the comments outside of it.
# Strings and $$ bodies are kept as they are. Leaves the rest in "rest".
function statement(    out, found, end) {
	out = ""
	while (match(rest, /'|\$\$|--|\/\*|;/)) {
		out = out substr(rest, 1, RSTART - 1)
		found = substr(rest, RSTART, RLENGTH)
		rest = substr(rest, RSTART + RLENGTH)
		if (found == ";")
			return out ";"
		end = index(rest, found == "--" ? "\n" : found == "/*" ? "*/" : found)
		if (end == 0) {
			print "no end of " found " in: " out >"/dev/stderr"
			exit failed = 1
		}
		if (found == "'" || found == "$$") {
			out = out found substr(rest, 1, end - 1) found
			rest = substr(rest, end + length(found))
		} else
			rest = substr(rest, end + (found == "--" ? 0 : 2))
	}
	rest = ""
	return ""
}

function trimmed(text) {
	sub(/^[ \t\n]+/, "", text)
	return text
}

# Equal but for white space.
function key(text) {
	gsub(/[ \t\n]+/, " ", text)
	return text
}

# The first words, with the name: CREATE TABLE livefeed.log
function named(text,    words) {
	split(key(text), words, / |\(/)
	if (words[2] == "UNIQUE" || words[2] == "UNLOGGED")
		return words[1] " " words[3] " " words[4]
	return words[1] " " words[2] " " words[3]
}

FNR == 1 { file++ }
/^\\/ { next }
{ source[file == 1 ? 1 : 2] = source[file == 1 ? 1 : 2] $0 "\n" }

END {
	if (failed)
		exit 1
	rest = source[1]
	while ((text = trimmed(statement())) != "") {
		known[key(text)] = 1
		has[named(text)] = 1
	}
	rest = source[2]
	while ((text = trimmed(statement())) != "") {
		if (key(text) in known)
			continue
		if (text ~ /^CREATE (TABLE|UNLOGGED TABLE|INDEX|UNIQUE INDEX|SEQUENCE|SCHEMA) / && named(text) in has) {
			print "-- by hand: " named(text) "\n"
			continue
		}
		if (named(text) in has) {
			sub(/^CREATE FUNCTION/, "CREATE OR REPLACE FUNCTION", text)
			sub(/^CREATE VIEW/, "CREATE OR REPLACE VIEW", text)
		}
		print text "\n"
	}
}
