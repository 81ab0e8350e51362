/*-------------------------------------------------------------------------
 *
 * text.c
 *	  Text of the database as JSON strings in UTF-8.
 *
 * Frames are UTF-8 whatever the database's encoding is, valid and without raw
 * control bytes, since the bridge passes them on unread: a byte that a browser
 * refuses would cost it the connection, and a raw newline would end a line of
 * Server-Sent Events. So text is converted here, once, and what has no form in
 * UTF-8 becomes U+FFFD rather than an error: the write must not fail.
 *
 * In a UTF8 database text is taken as it is; PostgreSQL let no other in.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "mb/pg_wchar.h"

#include "compat.h"
#include "text.h"

#define REPLACEMENT "\xEF\xBF\xBD"	/* U+FFFD */
#define REPLACEMENT_BYTES 3

/* Text is escaped in pieces of this size, so that room for the worst case is small. */
#define ESCAPE_PIECE_BYTES 512
#define ESCAPE_GROWTH 6			/* \u0001 */

/* 0: as it is; 'u': \u00XX; else the letter after the backslash. */
static const char escape_of[256] = {
	'u', 'u', 'u', 'u', 'u', 'u', 'u', 'u', 'b', 't', 'n', 'u', 'f', 'r', 'u', 'u',
	'u', 'u', 'u', 'u', 'u', 'u', 'u', 'u', 'u', 'u', 'u', 'u', 'u', 'u', 'u', 'u',
	['"'] = '"',
	['\\'] = '\\',
	[0x7F] = 'u',
};

static const char hex_digits[] = "0123456789abcdef";

static bool
is_ascii(const char *str, int len)
{
	for (int i = 0; i < len; i++)
		if (IS_HIGHBIT_SET(str[i]))
			return false;
	return true;
}

/* SQL_ASCII says nothing of its bytes: those that are no UTF-8 are replaced. */
static bool
convert_unknown(StringInfo utf8, const char *str, int len)
{
	const unsigned char *at = (const unsigned char *) str;
	const unsigned char *end = at + len;
	bool		whole = true;

	while (at < end)
	{
		int			size = pg_utf_mblen(at);

		if (size <= end - at && pg_utf8_islegal(at, size))
		{
			appendBinaryStringInfo(utf8, (const char *) at, size);
			at += size;
		}
		else
		{
			appendBinaryStringInfo(utf8, REPLACEMENT, REPLACEMENT_BYTES);
			at++;
			whole = false;
		}
	}
	return whole;
}

/* One conversion as far as it goes, a replacement where it stops, and on. */
static bool
convert_known(StringInfo utf8, const char *str, int len)
{
	int			encoding = GetDatabaseEncoding();
	Oid			proc = FindDefaultConversionProc(encoding, PG_UTF8);
	const char *at = str;
	const char *end = str + len;
	bool		whole = true;

	if (!OidIsValid(proc))
		return convert_unknown(utf8, str, len);

	while (at < end)
	{
		int			piece = Min(end - at, ESCAPE_PIECE_BYTES * 16);
		int			room;
		int			done;

		/* Not amid a character. */
		piece = pg_encoding_mbcliplen(encoding, at, piece, piece);
		room = piece * MAX_CONVERSION_GROWTH + 1;
		enlargeStringInfo(utf8, room);
		done = piece == 0 ? 0 :
			compat_convert(proc, encoding, PG_UTF8, at, piece, utf8->data + utf8->len, room);
		utf8->len += strlen(utf8->data + utf8->len);
		at += done;
		if (done < piece || piece == 0)
		{
			appendBinaryStringInfo(utf8, REPLACEMENT, REPLACEMENT_BYTES);
			at += Min(Max(pg_encoding_mblen(encoding, at), 1), end - at);
			whole = false;
		}
	}
	return whole;
}

static bool
convert(StringInfo utf8, const char *str, int len)
{
	return GetDatabaseEncoding() == PG_SQL_ASCII
		? convert_unknown(utf8, str, len)
		: convert_known(utf8, str, len);
}

const char *
text_utf8(const char *str, int len, int *utf8_len)
{
	StringInfoData utf8;

	*utf8_len = len;
	if (GetDatabaseEncoding() == PG_UTF8 || is_ascii(str, len))
		return str;

	initStringInfo(&utf8);
	(void) convert(&utf8, str, len);
	*utf8_len = utf8.len;
	return utf8.data;
}

bool
text_is_sendable(const char *str, int len)
{
	StringInfoData utf8;
	bool		whole;

	if (GetDatabaseEncoding() == PG_UTF8 || is_ascii(str, len))
		return true;

	initStringInfo(&utf8);
	whole = convert(&utf8, str, len);
	pfree(utf8.data);
	return whole;
}

static char *
put_escape(char *out, unsigned char byte)
{
	char		letter = escape_of[byte];

	*out++ = '\\';
	*out++ = letter;
	if (letter == 'u')
	{
		*out++ = '0';
		*out++ = '0';
		*out++ = hex_digits[byte >> 4];
		*out++ = hex_digits[byte & 15];
	}
	return out;
}

void
text_append_json(StringInfo buf, const char *str, int len)
{
	const char *at = text_utf8(str, len, &len);
	const char *end = at + len;

	appendStringInfoCharMacro(buf, '"');
	while (at < end)
	{
		const char *stop = at + Min(end - at, ESCAPE_PIECE_BYTES);
		char	   *out;

		enlargeStringInfo(buf, ESCAPE_PIECE_BYTES * ESCAPE_GROWTH);
		out = buf->data + buf->len;
		while (at < stop)
		{
			unsigned char byte = (unsigned char) *at++;

			if (likely(escape_of[byte] == 0))
				*out++ = (char) byte;
			else
				out = put_escape(out, byte);
		}
		*out = '\0';
		buf->len = out - buf->data;
	}
	appendStringInfoCharMacro(buf, '"');
}

void
text_append_json_or_null(StringInfo buf, const char *str)
{
	if (str == NULL)
		appendBinaryStringInfo(buf, "null", 4);
	else
		text_append_json(buf, str, strlen(str));
}

void
text_append_uri(StringInfo buf, const char *str, int len)
{
	const char *at = text_utf8(str, len, &len);

	for (const char *end = at + len; at < end; at++)
	{
		unsigned char byte = (unsigned char) *at;

		if ((byte >= 'A' && byte <= 'Z') || (byte >= 'a' && byte <= 'z') ||
			(byte >= '0' && byte <= '9') || (byte != '\0' && strchr("-_.!~*'()", byte) != NULL))
			appendStringInfoChar(buf, (char) byte);
		else
		{
			appendStringInfoChar(buf, '%');
			appendStringInfoChar(buf, "0123456789ABCDEF"[byte >> 4]);
			appendStringInfoChar(buf, "0123456789ABCDEF"[byte & 15]);
		}
	}
}

/*
 * The text is valid JSON, or the type json would not have let it in: only
 * where strings begin and end needs to be known.
 */
void
text_append_compact_json(StringInfo buf, const char *json, int len)
{
	const char *at = text_utf8(json, len, &len);
	const char *end = at + len;
	bool		in_string = false;

	enlargeStringInfo(buf, len);
	for (; at < end; at++)
	{
		unsigned char byte = (unsigned char) *at;

		if (!in_string && (byte == ' ' || byte == '\t' || byte == '\n' || byte == '\r'))
			continue;
		if (unlikely(byte < ' ' || byte == 0x7F))
		{
			char		escape[ESCAPE_GROWTH];

			appendBinaryStringInfo(buf, escape, put_escape(escape, byte) - escape);
			continue;
		}
		appendStringInfoCharMacro(buf, (char) byte);
		if (byte == '"')
			in_string = !in_string;
		else if (byte == '\\' && in_string && at + 1 < end)
		{
			at++;
			appendStringInfoCharMacro(buf, *at);
		}
	}
}

/* A character that this database has no form for; only strings have such. */
static int
append_unicode_escape(StringInfo buf, const char *at)
{
	pg_wchar	code = utf8_to_unicode((const unsigned char *) at);

	if (code > 0xFFFF)
		appendStringInfo(buf, "\\u%04x\\u%04x", 0xD800 + ((code - 0x10000) >> 10), 0xDC00 + ((code - 0x10000) & 0x3FF));
	else
		appendStringInfo(buf, "\\u%04x", code);
	return pg_utf_mblen((const unsigned char *) at);
}

void
text_append_from_utf8_json(StringInfo buf, const char *json, int len)
{
	int			encoding = GetDatabaseEncoding();
	Oid			proc = FindDefaultConversionProc(PG_UTF8, encoding);
	const char *at = json;
	const char *end = json + len;

	if (encoding == PG_UTF8 || !OidIsValid(proc) || is_ascii(json, len))
	{
		appendBinaryStringInfo(buf, json, len);
		return;
	}
	while (at < end)
	{
		int			piece = Min(end - at, ESCAPE_PIECE_BYTES * 16);
		int			room;
		int			done;

		/* Not amid a character. */
		piece = pg_encoding_mbcliplen(PG_UTF8, at, piece, piece);
		room = piece * MAX_CONVERSION_GROWTH + 1;
		enlargeStringInfo(buf, room);
		done = compat_convert(proc, PG_UTF8, encoding, at, piece, buf->data + buf->len, room);
		buf->len += strlen(buf->data + buf->len);
		at += done;
		if (done < piece)
			at += append_unicode_escape(buf, at);
	}
}
