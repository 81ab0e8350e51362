/*
 * head.c - the head of an HTTP request, judged before libwebsockets gets it (head.h). Plain C.
 *
 *  1. head_look    each byte as it comes: no control characters, lines that end with CRLF and nothing else, a request line
 *                  that is one. What is no HTTP/1 at all is known from its first line.
 *  2. head_end     is it all there?
 *  3. head_judge   the whole: the target, each header, and those that may not come twice or together.
 */
#include "head.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

#define KEY_BYTES 24 /* of Sec-WebSocket-Key: 16 bytes in base64 */
#define LENGTH_DIGITS_MAX 15

static bool refuse(struct head_fault *fault, int status, const char *code, const char *message)
{
	*fault = (struct head_fault){status, code, message};
	return false;
}

static bool bad(struct head_fault *fault, const char *message)
{
	return refuse(fault, 400, "bad_message", message);
}

static bool is_token(const char *bytes, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)bytes[i];
		if (!(isalnum(c) || (c != '\0' && strchr("!#$%&'*+-.^_`|~", c))) || c >= 0x80) {
			return false;
		}
	}
	return len > 0;
}

static bool same(struct text text, const char *word)
{
	return text.len == strlen(word) && strncasecmp(text.bytes, word, text.len) == 0;
}

/* Is word in a list with commas? */
static bool lists(struct text list, const char *word)
{
	for (size_t i = 0; i < list.len;) {
		size_t end = i;
		while (end < list.len && list.bytes[end] != ',') {
			end++;
		}
		size_t first = i, last = end;
		while (first < last && (list.bytes[first] == ' ' || list.bytes[first] == '\t')) {
			first++;
		}
		while (last > first && (list.bytes[last - 1] == ' ' || list.bytes[last - 1] == '\t')) {
			last--;
		}
		if (same((struct text){list.bytes + first, last - first}, word)) {
			return true;
		}
		i = end + 1;
	}
	return false;
}

/* ---- the request line */

struct line {
	struct text method, target, version;
};

/* METHOD SP TARGET SP VERSION; bytes: without CRLF. */
static bool split_line(const char *bytes, size_t len, struct line *line)
{
	const char *first = memchr(bytes, ' ', len);
	const char *last = first ? memchr(first + 1, ' ', len - (size_t)(first + 1 - bytes)) : NULL;
	if (!last) {
		return false;
	}
	*line = (struct line){{bytes, (size_t)(first - bytes)},
	                      {first + 1, (size_t)(last - first - 1)},
	                      {last + 1, len - (size_t)(last + 1 - bytes)}};
	return line->target.len > 0 && !memchr(line->version.bytes, ' ', line->version.len);
}

static bool judge_line(const char *bytes, size_t len, struct line *line, struct head_fault *fault)
{
	static const char *const methods[] = {"GET", "HEAD", "POST", "OPTIONS", "PUT", "PATCH", "DELETE"};
	bool known = false;
	if (!split_line(bytes, len, line) || !is_token(line->method.bytes, line->method.len)) {
		return bad(fault, "this is no HTTP/1.1 request");
	}
	if (line->version.len != 8 || memcmp(line->version.bytes, "HTTP/", 5) != 0) {
		return bad(fault, "this is no HTTP/1.1 request");
	}
	if (memcmp(line->version.bytes, "HTTP/1.1", 8) != 0 && memcmp(line->version.bytes, "HTTP/1.0", 8) != 0) {
		return refuse(fault, 505, "bad_message", "only HTTP/1.1 is spoken here");
	}
	for (size_t i = 0; i < sizeof methods / sizeof *methods; i++) {
		known = known || (strlen(methods[i]) == line->method.len &&
		                  memcmp(methods[i], line->method.bytes, line->method.len) == 0);
	}
	return known || refuse(fault, 405, "bad_message", "this method is not served");
}

/* ---- the target */

static int hex(char c)
{
	return c >= '0' && c <= '9'   ? c - '0'
	       : c >= 'a' && c <= 'f' ? c - 'a' + 10
	       : c >= 'A' && c <= 'F' ? c - 'A' + 10
	                              : -1;
}

/* The character at *at, decoded; moves *at behind it. -1: no encoding, or not to be in a target. */
static int next_char(struct text target, size_t *at)
{
	unsigned char c = (unsigned char)target.bytes[*at];
	if (c <= ' ' || c >= 0x7f || c == '#') {
		return -1;
	}
	if (c != '%') {
		(*at)++;
		return c;
	}
	if (target.len - *at < 3 || hex(target.bytes[*at + 1]) < 0 || hex(target.bytes[*at + 2]) < 0) {
		return -1;
	}
	int value = hex(target.bytes[*at + 1]) * 16 + hex(target.bytes[*at + 2]);
	*at += 3;
	return value == 0 ? -1 : value;
}

/* Each segment of a path, decoded: an encoded slash ends one, too. Dots alone are none: whoever sends them wants to get out. */
static bool judge_path(struct text path, struct head_fault *fault)
{
	size_t dots = 0, others = 0, at = 0;
	if (path.len == 0 || path.bytes[0] != '/') {
		return bad(fault, "the target must be a path");
	}
	while (at < path.len) {
		int c = next_char(path, &at);
		if (c < 0) {
			return bad(fault, "the target has bytes or an encoding that it must not have");
		}
		if (c == '/') {
			dots = others = 0;
		} else if (c == '.') {
			dots++;
		} else {
			others++;
		}
		bool ends = at == path.len || path.bytes[at] == '/' ||
		            (at + 2 < path.len && strncasecmp(path.bytes + at, "%2f", 3) == 0);
		if (ends && others == 0 && (dots == 1 || dots == 2)) {
			return bad(fault, "the target has . or .. in its path");
		}
	}
	return true;
}

static bool judge_target(struct text target, struct head *head, size_t *fields, struct head_fault *fault)
{
	const char *question = memchr(target.bytes, '?', target.len);
	head->path = (struct text){target.bytes, question ? (size_t)(question - target.bytes) : target.len};
	if (!judge_path(head->path, fault)) {
		return false;
	}
	if (question) {
		struct text query = {question + 1, target.len - head->path.len - 1};
		(*fields)++;
		for (size_t at = 0; at < query.len;) {
			*fields += query.bytes[at] == '&';
			if (next_char(query, &at) < 0) {
				return bad(fault, "the target has bytes or an encoding that it must not have");
			}
		}
	}
	return true;
}

/* How much of a target is "http://host", before its path; 0: none. */
static size_t absolute_part(struct text target, struct text *authority)
{
	size_t scheme = target.len > 7 && strncasecmp(target.bytes, "http://", 7) == 0    ? 7
	                : target.len > 8 && strncasecmp(target.bytes, "https://", 8) == 0 ? 8
	                                                                                  : 0;
	size_t end = scheme;
	while (scheme > 0 && end < target.len && target.bytes[end] != '/' && target.bytes[end] != '?') {
		end++;
	}
	*authority = (struct text){target.bytes + scheme, end - scheme};
	return end;
}

/* ---- the headers */

enum once {
	HOST,
	CONTENT_LENGTH,
	TRANSFER_ENCODING,
	UPGRADE,
	CONNECTION,
	KEY,
	VERSION,
	ORIGIN,
	AUTHORIZATION,
	IDEMPOTENCY_KEY,
	N_ONCE
};
static const char *const once_names[N_ONCE] = {"host",          "content-length",    "transfer-encoding",     "upgrade",
                                               "connection",    "sec-websocket-key", "sec-websocket-version", "origin",
                                               "authorization", "idempotency-key"};

/* Name and value of one line, without its CRLF. */
static bool split_header(const char *bytes, size_t len, struct text *name, struct text *value)
{
	const char *colon = memchr(bytes, ':', len);
	if (!colon || !is_token(bytes, (size_t)(colon - bytes))) {
		return false; /* a line that goes on with the one before, too: those are long obsolete */
	}
	*name = (struct text){bytes, (size_t)(colon - bytes)};
	size_t first = name->len + 1, last = len;
	while (first < last && (bytes[first] == ' ' || bytes[first] == '\t')) {
		first++;
	}
	while (last > first && (bytes[last - 1] == ' ' || bytes[last - 1] == '\t')) {
		last--;
	}
	*value = (struct text){bytes + first, last - first};
	return true;
}

static bool judge_headers(const char *bytes, size_t len, struct text found[N_ONCE], size_t *fields,
                          struct head_fault *fault)
{
	for (size_t at = 0; at + 2 < len;) {
		const char *end = memmem(bytes + at, len - at, "\r\n", 2);
		struct text name, value;
		if (!end || !split_header(bytes + at, (size_t)(end - bytes) - at, &name, &value)) {
			return bad(fault, "a header that is none");
		}
		for (size_t i = 0; i < N_ONCE; i++) {
			if (!same(name, once_names[i])) {
				continue;
			}
			if (found[i].bytes && i == ORIGIN) {
				return refuse(fault, 403, "forbidden", "Origin comes twice");
			}
			if (found[i].bytes && i != CONNECTION) {
				return bad(fault, "a header comes twice that may come once");
			}
			/* The first Connection counts: where it does not say upgrade, there is none. */
			found[i] = found[i].bytes ? found[i] : value;
		}
		(*fields)++;
		at = (size_t)(end - bytes) + 2;
	}
	return true;
}

static bool judge_body(const struct text found[N_ONCE], uint64_t max_body, struct head *head, struct head_fault *fault)
{
	struct text length = found[CONTENT_LENGTH];
	if (found[TRANSFER_ENCODING].bytes) {
		return length.bytes ? bad(fault, "Content-Length and Transfer-Encoding exclude each other")
		                    : refuse(fault, 411, "bad_message", "send the length of the body");
	}
	if (!length.bytes) {
		return true;
	}
	for (size_t i = 0; i < length.len; i++) {
		if (length.bytes[i] < '0' || length.bytes[i] > '9' || i == LENGTH_DIGITS_MAX) {
			return bad(fault, "Content-Length is no number of bytes");
		}
		head->body = head->body * 10 + (uint64_t)(length.bytes[i] - '0');
	}
	if (length.len == 0) {
		return bad(fault, "Content-Length is no number of bytes");
	}
	return head->body <= max_body || refuse(fault, 413, "too_large", "the body is larger than --max-body");
}

static bool is_key(struct text key)
{
	if (key.len != KEY_BYTES || memcmp(key.bytes + KEY_BYTES - 2, "==", 2) != 0) {
		return false;
	}
	for (size_t i = 0; i < KEY_BYTES - 2; i++) {
		if (!isalnum((unsigned char)key.bytes[i]) && key.bytes[i] != '+' && key.bytes[i] != '/') {
			return false;
		}
	}
	return true;
}

static bool judge_upgrade(const struct text found[N_ONCE], const struct line *line, struct head *head,
                          struct head_fault *fault)
{
	if (!found[UPGRADE].bytes) {
		return true;
	}
	if (!same(found[UPGRADE], "websocket")) {
		return bad(fault, "the only upgrade is to websocket");
	}
	if (!same(line->method, "GET") || line->version.bytes[7] != '1' || head->body > 0) {
		return bad(fault, "a WebSocket begins with GET of HTTP/1.1, without a body");
	}
	if (!found[CONNECTION].bytes || !lists(found[CONNECTION], "upgrade")) {
		return bad(fault, "Connection does not say upgrade");
	}
	if (!found[KEY].bytes || !is_key(found[KEY])) {
		return bad(fault, "Sec-WebSocket-Key is missing, or is not 16 bytes in base64");
	}
	head->upgrade = true;
	return true;
}

/*
 * What is handed on: the headers that the bridge reads, or libwebsockets for it. Of others its parser makes what it likes: 4.1.6 hangs up
 * on a name that is the beginning of one it knows ("X: y").
 */
static const char *const known_names[] = {
	"host", "connection", "upgrade", "sec-websocket-key", "sec-websocket-version", "sec-websocket-protocol", "origin",
	"authorization", "content-length", "content-type", "accept", "user-agent", "if-none-match", "last-event-id",
	"idempotency-key", "access-control-request-method",
	/* of proxies */
	"via", "forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-forwarded-server",
	"x-forwarded-port", "x-forwarded-path", "x-real-ip", "x-client-ip", "cf-connecting-ip", "true-client-ip",
	"access-control-request-headers"};

/* Drops the other lines of a head that was found good; its headers begin at first. Returns its length. */
static size_t drop_unknown(char *bytes, size_t first, size_t len)
{
	size_t to = first;
	for (size_t at = first; at < len;) {
		const char *end = memmem(bytes + at, len - at, "\r\n", 2);
		size_t line = (size_t)(end - bytes) + 2 - at;
		const char *colon = memchr(bytes + at, ':', line);
		bool known = line == 2; /* the empty one */
		for (size_t i = 0; colon && !known && i < sizeof known_names / sizeof *known_names; i++) {
			known = same((struct text){bytes + at, (size_t)(colon - bytes) - at}, known_names[i]);
		}
		if (known) {
			memmove(bytes + to, bytes + at, line);
			to += line;
		}
		at += line;
	}
	return to;
}

/* ---- as others see it */

bool head_look(const char *bytes, size_t len, size_t from, struct head_fault *fault)
{
	for (size_t i = from; i < len; i++) {
		unsigned char c = (unsigned char)bytes[i];
		bool after_cr = i > 0 && bytes[i - 1] == '\r';
		if (after_cr != (c == '\n')) {
			return bad(fault, "lines end with CR and LF");
		}
		if ((c < ' ' && c != '\r' && c != '\n' && c != '\t') || c == 0x7f) {
			return bad(fault, "a control character");
		}
		if (c == '\n' && memchr(bytes, '\n', len) == bytes + i) {
			struct line line;
			if (!judge_line(bytes, i - 1, &line, fault)) {
				return false;
			}
		}
	}
	return true;
}

size_t head_end(const char *bytes, size_t len, size_t from)
{
	from = from < 3 ? 0 : from - 3; /* its end may have begun before */
	const char *end = memmem(bytes + from, len - from, "\r\n\r\n", 4);
	return end ? (size_t)(end - bytes) + 4 : 0;
}

bool head_judge(char *bytes, size_t *len, uint64_t max_body, struct head *head, struct head_fault *fault)
{
	struct text found[N_ONCE] = {{NULL, 0}}, authority;
	struct line line;
	size_t fields = 0;
	const char *end = memmem(bytes, *len, "\r\n", 2);
	*head = (struct head){0};
	if (!end || !judge_line(bytes, (size_t)(end - bytes), &line, fault)) {
		return end ? false : bad(fault, "this is no HTTP/1.1 request");
	}
	size_t first = (size_t)(end - bytes) + 2;
	size_t absolute = absolute_part(line.target, &authority);
	struct text target = {line.target.bytes + absolute, line.target.len - absolute};
	if (!judge_target(target, head, &fields, fault) ||
	    !judge_headers(bytes + first, *len - first, found, &fields, fault)) {
		return false;
	}
	if (fields > HEAD_FIELDS_MAX) {
		return refuse(fault, 431, "too_large", "too many headers and arguments");
	}
	if (line.version.bytes[7] == '1' && !found[HOST].bytes) {
		return bad(fault, "Host is missing");
	}
	if (absolute > 0 && (!found[HOST].bytes || found[HOST].len != authority.len ||
	                     strncasecmp(found[HOST].bytes, authority.bytes, authority.len) != 0)) {
		return bad(fault, "the target and Host name different hosts");
	}
	if (!judge_body(found, max_body, head, fault) || !judge_upgrade(found, &line, head, fault)) {
		return false;
	}
	*len = drop_unknown(bytes, first, *len);
	if (absolute > 0) {
		size_t at = (size_t)(line.target.bytes - bytes);
		memmove(bytes + at, bytes + at + absolute, *len - at - absolute);
		*len -= absolute;
		head->path.bytes -= absolute;
	}
	return true;
}

bool head_canonical_path(struct text path, char *to, size_t size)
{
	static const char digits[] = "0123456789ABCDEF";
	size_t n = 0;
	for (size_t at = 0; at < path.len;) {
		bool encoded = path.bytes[at] == '%';
		int c = next_char(path, &at);
		if (c < 0 || n + 4 > size) {
			return false;
		}
		if (isalnum(c) || strchr("-._~", c) || (c == '/' && !encoded)) {
			to[n++] = (char)c;
		} else {
			to[n++] = '%';
			to[n++] = digits[c >> 4];
			to[n++] = digits[c & 15];
		}
	}
	to[n] = '\0';
	return true;
}
