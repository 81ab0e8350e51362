/*
 * test_head.c - heads of HTTP requests: what is taken, and each that is not, with its status; split at every position.
 */
#include "head.h"

#include <stdlib.h>

#include "tap.h"

#define MAX_BODY 1000
#define H "Host: a\r\n"
#define UP "Upgrade: websocket\r\nConnection: keep-alive, Upgrade\r\nSec-WebSocket-Version: 13\r\n"
#define KEY "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"

/* As the gate does it, in chunks of size bytes. The status; 0: a good head; -1: not all there. */
static int judge(const char *text, size_t len, size_t size, struct head *head, char *copy, size_t *copy_len)
{
	struct head_fault fault = {0};
	size_t have = 0;
	while (have < len) {
		size_t n = len - have < size ? len - have : size;
		memcpy(copy + have, text + have, n);
		have += n;
		if (!head_look(copy, have, have - n, &fault)) {
			return fault.status;
		}
		size_t end = head_end(copy, have, have - n);
		if (end > 0) {
			*copy_len = end;
			return head_judge(copy, copy_len, MAX_BODY, head, &fault) ? 0 : fault.status;
		}
	}
	return -1;
}

static const struct {
	const char *name, *text;
	size_t len;
	int status;
	const char *path; /* of those that are taken */
} heads[] = {
#define HEAD(name, text, status, path)                                                                                 \
	{                                                                                                                  \
		name, text, sizeof(text) - 1, status, path                                                                     \
	}
	HEAD("plain", "GET / HTTP/1.1\r\n" H "\r\n", 0, "/"),
	HEAD("path and query", "GET /a/b%20c?d=e&f HTTP/1.1\r\n" H "\r\n", 0, "/a/b%20c"),
	HEAD("an encoded slash", "GET /ws/a%2Fb/ HTTP/1.1\r\n" H "\r\n", 0, "/ws/a%2Fb/"),
	HEAD("dots in names", "GET /..a/b../...?../x HTTP/1.1\r\n" H "\r\n", 0, "/..a/b../..."),
	HEAD("odd spaces in a value", "GET / HTTP/1.1\r\nHost:\t a \t\r\nX:\r\n\r\n", 0, "/"),
	HEAD("bytes above 127 in a value", "GET / HTTP/1.1\r\n" H "X: \xc3\xa4\r\n\r\n", 0, "/"),
	HEAD("HTTP/1.0 without Host", "GET / HTTP/1.0\r\n\r\n", 0, "/"),
	HEAD("absolute form", "GET http://A/x?y HTTP/1.1\r\n" H "\r\n", 0, "/x"),
	HEAD("a body", "POST / HTTP/1.1\r\n" H "Content-Length: 1000\r\n\r\n", 0, "/"),
	HEAD("an upgrade", "GET /ws HTTP/1.1\r\n" H UP KEY "\r\n", 0, "/ws"),

	HEAD("not all of it", "GET / HTTP/1.1\r\n" H, -1, NULL),
	HEAD("HTTP/0.9", "GET /\r\n\r\n", 400, NULL),
	HEAD("no request line", "hello\r\n\r\n", 400, NULL),
	HEAD("an empty line first", "\r\nGET / HTTP/1.1\r\n" H "\r\n", 400, NULL),
	HEAD("TLS", "\x16\x03\x01\x02", 400, NULL),
	HEAD("HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, NULL),
	HEAD("HTTP/1.2", "GET / HTTP/1.2\r\n" H "\r\n", 505, NULL),
	HEAD("http/1.1", "GET / http/1.1\r\n" H "\r\n", 400, NULL),
	HEAD("TRACE", "TRACE / HTTP/1.1\r\n" H "\r\n", 405, NULL),
	HEAD("CONNECT", "CONNECT a:1 HTTP/1.1\r\n" H "\r\n", 405, NULL),
	HEAD("get", "get / HTTP/1.1\r\n" H "\r\n", 405, NULL),
	HEAD("no method", " / HTTP/1.1\r\n" H "\r\n", 400, NULL),
	HEAD("two spaces", "GET  / HTTP/1.1\r\n" H "\r\n", 400, NULL),
	HEAD("a space in the target", "GET /a b HTTP/1.1\r\n" H "\r\n", 400, NULL),
	HEAD("a tab for a space", "GET\t/ HTTP/1.1\r\n" H "\r\n", 400, NULL),
	HEAD("no path", "GET x HTTP/1.1\r\n" H "\r\n", 400, NULL),
	HEAD("an asterisk", "OPTIONS * HTTP/1.1\r\n" H "\r\n", 400, NULL),
	HEAD("a fragment", "GET /#a HTTP/1.1\r\n" H "\r\n", 400, NULL),
	HEAD("a NUL, encoded", "GET /a%00b HTTP/1.1\r\n" H "\r\n", 400, NULL),
	HEAD("a NUL", "GET /a\0b HTTP/1.1\r\n" H "\r\n", 400, NULL),
	HEAD("bad encoding", "GET /%zz HTTP/1.1\r\n" H "\r\n", 400, NULL),
	HEAD("half an encoding", "GET /%2 HTTP/1.1\r\n" H "\r\n", 400, NULL),
	HEAD("bad encoding in the query", "GET /?a=%g0 HTTP/1.1\r\n" H "\r\n", 400, NULL),
	HEAD("bytes above 127 in the target", "GET /\xc3\xa4 HTTP/1.1\r\n" H "\r\n", 400, NULL),
	HEAD("up and out", "GET /../x HTTP/1.1\r\n" H "\r\n", 400, NULL),
	HEAD("up at the end", "GET /a/.. HTTP/1.1\r\n" H "\r\n", 400, NULL),
	HEAD("up, encoded", "GET /%2e%2E/x HTTP/1.1\r\n" H "\r\n", 400, NULL),
	HEAD("up, half encoded", "GET /a/.%2e%2fx HTTP/1.1\r\n" H "\r\n", 400, NULL),
	HEAD("up behind an encoded slash", "GET /a%2f../x HTTP/1.1\r\n" H "\r\n", 400, NULL),
	HEAD("here", "GET /./x HTTP/1.1\r\n" H "\r\n", 400, NULL),
	HEAD("absolute form, another host", "GET http://b/x HTTP/1.1\r\n" H "\r\n", 400, NULL),
	HEAD("absolute form, no path", "GET http://a HTTP/1.1\r\n" H "\r\n", 400, NULL),
	HEAD("absolute form, ftp", "GET ftp://a/ HTTP/1.1\r\n" H "\r\n", 400, NULL),
	HEAD("no Host", "GET / HTTP/1.1\r\n\r\n", 400, NULL),
	HEAD("two Hosts", "GET / HTTP/1.1\r\n" H "HOST: a\r\n\r\n", 400, NULL),
	HEAD("two Origins", "GET / HTTP/1.1\r\n" H "Origin: http://a\r\nOrigin: http://a\r\n\r\n", 403, NULL),
	HEAD("LF alone", "GET / HTTP/1.1\n" H "\r\n", 400, NULL),
	HEAD("LF alone among headers", "GET / HTTP/1.1\r\nHost: a\n\r\n", 400, NULL),
	HEAD("CR alone", "GET / HTTP/1.1\r\nHost: a\rX: y\r\n\r\n", 400, NULL),
	HEAD("a folded line", "GET / HTTP/1.1\r\n" H " b\r\n\r\n", 400, NULL),
	HEAD("a first line that is folded", "GET / HTTP/1.1\r\n X: y\r\n" H "\r\n", 400, NULL),
	HEAD("a space before the colon", "GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400, NULL),
	HEAD("no colon", "GET / HTTP/1.1\r\n" H "X\r\n\r\n", 400, NULL),
	HEAD("no name", "GET / HTTP/1.1\r\n" H ": x\r\n\r\n", 400, NULL),
	HEAD("a byte above 127 in a name", "GET / HTTP/1.1\r\n" H "X\xc3: x\r\n\r\n", 400, NULL),
	HEAD("a NUL in a value", "GET / HTTP/1.1\r\n" H "X: a\0b\r\n\r\n", 400, NULL),
	HEAD("an escape in a value", "GET / HTTP/1.1\r\n" H "X: \x1b[1m\r\n\r\n", 400, NULL),
	HEAD("a DEL in a name", "GET / HTTP/1.1\r\n" H "X\x7f: a\r\n\r\n", 400, NULL),
	HEAD("two Content-Lengths", "POST / HTTP/1.1\r\n" H "Content-Length: 1\r\nContent-Length: 1\r\n\r\n", 400, NULL),
	HEAD("a list of Content-Lengths", "POST / HTTP/1.1\r\n" H "Content-Length: 1, 1\r\n\r\n", 400, NULL),
	HEAD("a negative Content-Length", "POST / HTTP/1.1\r\n" H "Content-Length: -1\r\n\r\n", 400, NULL),
	HEAD("a Content-Length with a sign", "POST / HTTP/1.1\r\n" H "Content-Length: +1\r\n\r\n", 400, NULL),
	HEAD("an empty Content-Length", "POST / HTTP/1.1\r\n" H "Content-Length:\r\n\r\n", 400, NULL),
	HEAD("a long Content-Length", "POST / HTTP/1.1\r\n" H "Content-Length: 18446744073709551617\r\n\r\n", 400, NULL),
	HEAD("a large body", "POST / HTTP/1.1\r\n" H "Content-Length: 1001\r\n\r\n", 413, NULL),
	HEAD("chunked", "POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n", 411, NULL),
	HEAD("chunked and a length", "POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n", 400,
         NULL),
	HEAD("h2c", "GET / HTTP/1.1\r\n" H "Connection: Upgrade\r\nUpgrade: h2c\r\nHTTP2-Settings: x\r\n\r\n", 400, NULL),
	HEAD("an upgrade by POST", "POST /ws HTTP/1.1\r\n" H UP KEY "\r\n", 400, NULL),
	HEAD("an upgrade of HTTP/1.0", "GET /ws HTTP/1.0\r\n" H UP KEY "\r\n", 400, NULL),
	HEAD("an upgrade with a body", "GET /ws HTTP/1.1\r\n" H UP KEY "Content-Length: 1\r\n\r\n", 400, NULL),
	HEAD("an upgrade without a key", "GET /ws HTTP/1.1\r\n" H UP "\r\n", 400, NULL),
	HEAD("an upgrade with a short key", "GET /ws HTTP/1.1\r\n" H UP "Sec-WebSocket-Key: eA==\r\n\r\n", 400, NULL),
	HEAD("an upgrade without Connection", "GET /ws HTTP/1.1\r\n" H "Upgrade: websocket\r\n" KEY "\r\n", 400, NULL),
	HEAD("two Upgrades", "GET /ws HTTP/1.1\r\n" H UP "Upgrade: websocket\r\n" KEY "\r\n", 400, NULL),
};

static void test_heads(void)
{
	char copy[1024];
	for (size_t i = 0; i < sizeof heads / sizeof *heads; i++) {
		struct head head = {0};
		size_t len = 0;
		int status = judge(heads[i].text, heads[i].len, heads[i].len, &head, copy, &len);
		is_int(status, heads[i].status, "%s", heads[i].name);
		if (heads[i].path) {
			is_mem(head.path.bytes, head.path.len, heads[i].path, strlen(heads[i].path), "%s: path", heads[i].name);
		}
		bool same = true;
		for (size_t size = 1; size < heads[i].len; size++) {
			same = same && judge(heads[i].text, heads[i].len, size, &head, copy, &len) == heads[i].status;
		}
		ok(same, "%s: however it is split", heads[i].name);
	}
}

static void test_details(void)
{
	char copy[65536], many[65536] = "GET /x HTTP/1.1\r\n" H;
	struct head head;
	size_t len;
	const char *text = "GET http://A/x?y HTTP/1.1\r\n" H "\r\n", *want = "GET /x?y HTTP/1.1\r\n" H "\r\n";
	judge(text, strlen(text), 7, &head, copy, &len);
	is_mem(copy, len, want, strlen(want), "absolute form: handed on as a plain one");
	text = "GET / HTTP/1.1\r\nX: y\r\nhOST: a\r\nHost-X: z\r\nORIGIN:b\r\nAccept-Language: de\r\n\r\n";
	want = "GET / HTTP/1.1\r\nhOST: a\r\nORIGIN:b\r\n\r\n";
	judge(text, strlen(text), 7, &head, copy, &len);
	is_mem(copy, len, want, strlen(want), "headers that nobody reads are not handed on");
	text = "GET /ws HTTP/1.1\r\n" H UP KEY "\r\n\x81";
	is_int(judge(text, strlen(text), 1000, &head, copy, &len), 0, "bytes behind the head");
	is_int(head_end(text, strlen(text), 0), strlen(text) - 1, "are not of it");
	ok(head.upgrade, "an upgrade");
	text = "POST / HTTP/1.1\r\n" H "Content-Length: 0007\r\n\r\n";
	judge(text, strlen(text), 1000, &head, copy, &len);
	ok(head.body == 7 && !head.upgrade, "a body");

	for (int i = 1; i < HEAD_FIELDS_MAX; i++) {
		strcat(many, "a: b\r\n");
	}
	strcat(many, "\r\n");
	is_int(judge(many, strlen(many), 1000, &head, copy, &len), 0, "as many headers as may be");
	strcpy(many + strlen(many) - 2, "a: b\r\n\r\n");
	is_int(judge(many, strlen(many), 1000, &head, copy, &len), 431, "one more");
	strcpy(many, "GET /x?");
	for (int i = 0; i < HEAD_FIELDS_MAX; i++) {
		strcat(many, "a=b&");
	}
	strcat(many, " HTTP/1.1\r\n" H "\r\n");
	is_int(judge(many, strlen(many), 1000, &head, copy, &len), 431, "too many arguments");

	char path[32];
	ok(head_canonical_path((struct text){"/a%2fb/%41%3a:%7E", 17}, path, sizeof path), "canonical path");
	is_str(path, "/a%2Fb/A%3A%3A~", "encoded slash kept, others in one spelling");
	ok(!head_canonical_path((struct text){"/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", 38}, path, sizeof path),
	   "too long");
}

static void test_noise(void)
{
	static const char alphabet[] = "GET / HTTP/1.1\r\n\r\nHost: a:%2e?&\t\x80#";
	bool sane = true;
	srand(4711);
	for (int round = 0; round < 20000; round++) {
		char text[64], copy[64];
		size_t len = 0, n = (size_t)rand() % sizeof text;
		struct head head;
		for (size_t i = 0; i < n; i++) {
			text[i] = i < 16 && round % 2 ? alphabet[i] : alphabet[(size_t)rand() % (sizeof alphabet - 1)];
		}
		int status = judge(text, n, 1 + (size_t)rand() % 64, &head, copy, &len);
		sane = sane && (status == 0 ? len <= n && head.path.len <= len : status == -1 || status >= 400);
	}
	ok(sane, "noise");
}

int main(void)
{
	test_heads();
	test_details();
	test_noise();
	return tap_done();
}
