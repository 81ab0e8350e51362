/*
 * test_origin.c - which pages may talk to us, and who the client behind a proxy is. Not here: how the headers are read
 * (end-to-end tests).
 */
#include "origin.h"
#include "tap.h"

static bool allowed(const char *one, const char *two, const char *origin, const char *host)
{
	char *items[] = {(char *)one, (char *)two};
	struct list list = {items, one ? two ? 2 : 1 : 0};
	return origin_is_allowed(&list, origin, host);
}

static void test_same_host(void)
{
	ok(allowed(NULL, NULL, NULL, "a.example"), "no Origin: no browser");
	ok(allowed(NULL, NULL, "", "a.example"), "an empty one as well");
	ok(allowed(NULL, NULL, "http://a.example", "a.example"), "the same host");
	ok(allowed(NULL, NULL, "http://A.example", "a.EXAMPLE"), "in whatever case");
	ok(allowed(NULL, NULL, "http://a.example:8090", "a.example:8090"), "with its port");
	ok(allowed(NULL, NULL, "https://a.example", "a.example:443"), "with the port that https has anyway");
	ok(allowed(NULL, NULL, "http://a.example:80", "a.example"), "with the port that http has anyway");
	ok(allowed(NULL, NULL, "http://[::1]:8090", "[::1]:8090"), "an IPv6 address");
	ok(allowed(NULL, NULL, "http://[::1]", "[::1]"), "an IPv6 address without port");
	ok(!allowed(NULL, NULL, "http://b.example", "a.example"), "another host");
	ok(!allowed(NULL, NULL, "http://a.example.evil", "a.example"), "one that begins like it");
	ok(!allowed(NULL, NULL, "http://a.example:81", "a.example:80"), "another port");
	ok(!allowed(NULL, NULL, "https://a.example", "a.example:80"), "the other scheme's port");
	ok(!allowed(NULL, NULL, "null", "a.example"), "null");
	ok(!allowed(NULL, NULL, "null", "null"), "null, whatever the host");
	ok(!allowed(NULL, NULL, "file://", ""), "a file");
	ok(!allowed(NULL, NULL, "http://a.example", NULL), "no Host");
	ok(!allowed(NULL, NULL, "http://", ""), "nothing, and no host");
	ok(!allowed(NULL, NULL, "http://[::1]x", "[::1]x"), "no address");
	ok(!allowed(NULL, NULL, "http://[]", "[]"), "an empty address");
	ok(!allowed(NULL, NULL, "capacitor://a.example", "a.example"), "a scheme that Host says nothing of");
	ok(allowed(NULL, NULL, "http://[2001:DB8::1]:81", "[2001:db8::1]:81"), "IPv6 in whatever case");
	ok(!allowed(NULL, NULL, "http://a.example:443", "a.example"), "https's port, of a page by http");
	ok(!allowed(NULL, NULL, "http://a.example.", "a.example"), "a name with its closing dot is another");
}

/* What no browser sends is refused whatever is allowed. */
static void test_malformed(void)
{
	static const char *const origins[] = {
		"http://a.example,http://a.example",
		"http://a.example, http://a.example",
		",http://a.example",
		"http://a.example,",
		"http://a.example http://a.example",
		"null,null",
		"null, http://a.example",
		"Null",
		" null",
		"http://user@a.example",
		"http://user:pass@a.example",
		"http://a.example@evil.example",
		"http://a.example:80@evil.example",
		"http://a.example/",
		"http://a.example/path",
		"http://a.example?x",
		"http://a.example#x",
		"http://a.example\\evil",
		"http://a.example:",
		"http://a.example:0",
		"http://a.example:65536",
		"http://a.example:080000",
		"http://a.example:80x",
		"http://a.example:+80",
		"http://a.example:-1",
		"http://[::1",
		"http://::1",
		"http://[::1]]",
		"http://[::1%25lo]",
		"http://[a.example]",
		"http:a.example",
		"http:/a.example",
		"://a.example",
		"//a.example",
		"a.example",
		"1http://a.example",
		"http://",
		"http://:80",
		"http://a.example\r\nX: y",
		"http://a.example\x01",
		"http://a.example\x7f",
		"http://\xc3\xa4.example",
		"http://a.example\xe2\x80\xa8",
		"http://*",
		"*",
	};
	for (size_t i = 0; i < sizeof origins / sizeof *origins; i++) {
		ok(!allowed("*", NULL, origins[i], "a.example"), "no origin, and * does not allow it (%zu)", i);
		ok(!allowed(NULL, NULL, origins[i], "a.example"), "nor the same host (%zu)", i);
		ok(!allowed("http://a.example", NULL, origins[i], "x"), "nor a list (%zu)", i);
	}
	static const char *const hosts[] = {"a.example,a.example", "a.example:", "a.example:x",
	                                    "user@a.example",      "a.example/", ""};
	for (size_t i = 0; i < sizeof hosts / sizeof *hosts; i++) {
		ok(!allowed(NULL, NULL, "http://a.example", hosts[i]), "no host (%zu)", i);
	}
}

static void test_list(void)
{
	ok(allowed("https://one.example", "https://two.example", "https://two.example", "x"), "one of the list");
	ok(allowed("https://one.example", NULL, "HTTPS://One.example", "x"), "in whatever case");
	ok(!allowed("https://one.example", NULL, "https://three.example", "x"), "none of the list");
	ok(!allowed("https://one.example", NULL, "http://one.example", "x"), "another scheme");
	ok(!allowed("https://one.example", NULL, "https://x", "x"), "the same host, once there is a list");
	ok(!allowed("https://one.example", NULL, "null", "x"), "null");
	ok(allowed("*", NULL, "https://three.example", "x"), "all");
	ok(allowed("*", NULL, "null", "x"), "all, null too");
	ok(allowed("https://one.example", NULL, NULL, "x"), "no Origin passes a list");
	ok(allowed("https://one.example:443", NULL, "https://one.example", "x"), "the usual port may be written or not");
	ok(allowed("https://one.example", NULL, "https://one.example:443", "x"), "on either side");
	ok(!allowed("https://one.example", NULL, "https://one.example:8443", "x"), "another port");
	ok(!allowed("https://one.example:8443", NULL, "https://one.example", "x"), "another usual port");
	ok(allowed("capacitor://localhost", NULL, "capacitor://localhost", "x"), "another scheme, where it is listed");
	ok(!allowed("capacitor://localhost", NULL, "http://localhost", "x"), "that scheme alone");
	ok(!allowed("https://one.example", NULL, "https://one.example.evil", "x"), "one that begins like it");
	ok(!allowed("https://one.example", NULL, "https://evil-one.example", "x"), "one that ends like it");
}

static const char *client(const char *one, const char *two, const char *peer, const char *forwarded)
{
	static char address[ADDRESS_MAX_BYTES];
	char *items[] = {(char *)one, (char *)two};
	struct list list = {items, one ? two ? 2 : 1 : 0};
	origin_client_address(&list, peer, forwarded, address, sizeof address);
	return address;
}

static void test_client_address(void)
{
	is_str(client(NULL, NULL, "192.0.2.1", "203.0.113.9"), "192.0.2.1", "nobody is trusted");
	is_str(client("10.0.0.0/8", NULL, "192.0.2.1", "203.0.113.9"), "192.0.2.1", "the peer is not");
	is_str(client("10.0.0.0/8", NULL, "10.1.2.3", NULL), "10.1.2.3", "a proxy that says nothing");
	is_str(client("10.0.0.0/8", NULL, "10.1.2.3", "203.0.113.9"), "203.0.113.9", "a proxy that names the client");
	is_str(client("10.0.0.0/8", NULL, "10.1.2.3", "1.1.1.1, 203.0.113.9"), "203.0.113.9",
	       "what the client wrote itself");
	is_str(client("10.0.0.0/8", NULL, "10.1.2.3", "203.0.113.9,10.9.9.9 , 10.8.8.8"), "203.0.113.9",
	       "proxy behind proxy");
	is_str(client("10.0.0.0/8", NULL, "10.1.2.3", "10.0.0.1"), "10.0.0.1", "all are proxies: the first");
	is_str(client("10.0.0.0/8", NULL, "10.1.2.3", "rubbish"), "10.1.2.3", "no address");
	is_str(client("10.0.0.0/8", NULL, "10.1.2.3", "203.0.113.9, rubbish"), "10.1.2.3", "nothing is taken past rubbish");
	is_str(client("10.0.0.0/8", NULL, "10.1.2.3", ""), "10.1.2.3", "an empty header");
	is_str(client("10.0.0.0/8", NULL, "10.1.2.3", " , ,"), "10.1.2.3", "commas");
	is_str(client("10.0.0.0/8", NULL, "10.1.2.3", "203.0.113.9:4711"), "203.0.113.9", "with a port");
	is_str(client("::1", "unix", "unix", "2001:db8::7"), "2001:db8::7", "by a Unix socket");
	is_str(client("::1", NULL, "::1", "[2001:db8::7]:99"), "2001:db8::7", "IPv6 with a port");
	is_str(client("::1", NULL, "::1", "2001:DB8:0:0::7"), "2001:db8::7", "IPv6, otherwise written");
	is_str(client("::1", NULL, "::1", "::ffff:203.0.113.9"), "203.0.113.9", "IPv4 written as IPv6 is counted as IPv4");
	is_str(client("2001:db8::/33", NULL, "2001:db8:7fff::1", "1.1.1.1"), "1.1.1.1", "in a network of 33 bits");
	is_str(client("2001:db8::/33", NULL, "2001:db8:8000::1", "1.1.1.1"), "2001:db8:8000::1", "just outside");
	is_str(client("10.0.0.0/8", NULL, "::ffff:10.1.2.3", "1.1.1.1"), "1.1.1.1", "IPv4 written as IPv6");
	is_str(client("0.0.0.0/0", NULL, "2001:db8::1", "1.1.1.1"), "2001:db8::1", "all of IPv4 is not IPv6");
	is_str(client("192.0.2.1", NULL, "192.0.2.10", "1.1.1.1"), "192.0.2.10", "an address is not a prefix");
}

static void test_local(void)
{
	ok(origin_is_loopback("127.0.0.1") && origin_is_loopback("127.9.9.9") && origin_is_loopback("::1"), "loopback");
	ok(origin_is_loopback("::ffff:127.0.0.1"), "IPv4 written as IPv6");
	ok(!origin_is_loopback("128.0.0.1") && !origin_is_loopback("::2") && !origin_is_loopback("0.0.0.0"), "no loopback");
	ok(!origin_is_loopback("unix") && !origin_is_loopback("") && !origin_is_loopback("localhost"), "no address");
	ok(origin_host_is_local("localhost") && origin_host_is_local("LocalHost:8090"), "localhost");
	ok(origin_host_is_local("127.0.0.1:8090") && origin_host_is_local("[::1]:8090") && origin_host_is_local("[::1]"),
	   "loopback addresses");
	ok(!origin_host_is_local("localhost.example") && !origin_host_is_local("127.0.0.1.example"), "names that begin so");
	ok(!origin_host_is_local("example.org") && !origin_host_is_local("") && !origin_host_is_local("192.0.2.1:80"),
	   "others");
	ok(!origin_host_is_local("localhost,localhost") && !origin_host_is_local("a@localhost"), "no host");
	is_str(origin_forwarded_host("a.example"), "a.example", "one proxy");
	is_str(origin_forwarded_host("evil.example, a.example:81"), "a.example:81", "the nearest proxy's word");
	is_str(origin_forwarded_host(""), "", "none");
}

int main(void)
{
	test_same_host();
	test_malformed();
	test_local();
	test_list();
	test_client_address();
	return tap_done();
}
