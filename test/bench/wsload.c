/*
 * wsload.c - the bench's client: opens many sessions from one epoll loop, counts
 * what arrives and proves that nothing is missing, doubled or misdelivered: a
 * benchmark that loses events is void.
 *
 *   wsload [OPTION]...         commands on stdin, an answer of one JSON line each
 *     --port N                 on 127.0.0.1
 *     --protocol P             livefeed (default), bare (WebSocket that needs no subscribe), mqtt, nats
 *     --path /ws?token={token} {token} and {unit} are filled in for each session
 *     --tokens FILE            a token a line, session I takes line I (modulo their number)
 *     --channel PREFIX         session I subscribes to PREFIX followed by its unit; MQTT and NATS: the topic
 *     --sessions N --subs S --units M    session I's units are (I*S .. I*S+S-1) mod M, plus 1
 *     --since CURSOR           resume from there
 *     --sinces FILE            session I resumes from the I-th line, "CURSOR N": events from N on are due to it
 *     --addresses K            come from 127.0.0.1 to 127.0.0.K in turn
 *     --at-once N              handshakes and subscribes under way at the same time, 128
 *     --stamps                 keep the time of every arrival
 *
 *   open             opens them all, answers once the last one is subscribed
 *   hangup           breaks all connections off, without a word; `open` may follow
 *   resume FILE      reads --sinces anew
 *   expect FROM TO   from now on events FROM..TO are due: event N goes to unit (N-1) mod M + 1
 *   wait MS          until all that is due has come, or MS passed
 *   stamps           {"n":N,"at":[ns, one a session]} for each event, then {"end":true}; CLOCK_MONOTONIC
 *   quit
 *
 * An event is told by its published column n ("n":123 in the frame). Events before FROM or after TO are strays.
 */
#include "wire.h"

#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define READ_BYTES (256 * 1024)
#define OPEN_AT_ONCE 128
#define CURSOR_BYTES 48
#define MAX_EVENTS 512
#define HELLO_BYTES 9000
#define COMMAND_BYTES 256
#define MAX_STAMPS (16 * 1024 * 1024)
#define MAX_DUE (64L * 1024 * 1024)
#define OPEN_WAIT_MS 60000

struct session {
	int fd; /* -1: not open */
	bool opened, ready;
	int unsubscribed; /* subscriptions not yet confirmed */
	char *rest; /* the start of a frame whose end has not come */
	size_t rest_len, rest_room;
	long last_n;
	uint8_t *seen; /* a bit an event of the range */
	int64_t *stamps;
	char since[CURSOR_BYTES]; /* of --sinces; "": none */
	long from; /* what is before is not due to it */
};

static struct {
	int port, sessions, subs, units, addresses, at_once;
	enum wire_protocol protocol;
	const char *path, *channel, *since, *sinces;
	char **tokens;
	int n_tokens;
	bool stamps;
} opt = {
	.sessions = 1, .subs = 1, .units = 1, .addresses = 1, .at_once = OPEN_AT_ONCE, .path = "/", .channel = "bench"};

static struct {
	long from, to; /* to < from: nothing is due */
	int64_t due, got, doubled, foreign, stray, disorder, resyncs, closed, reads, bytes;
	int64_t first_ns, last_ns;
} run = {.from = 1, .to = 0};

static struct session *sessions;
static int loop_fd, n_ready, n_open, n_started;
static char trouble[400];

static int64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static _Noreturn void die(const char *what)
{
	fprintf(stderr, "wsload: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void *must(void *memory)
{
	if (!memory)
		die("memory");
	return memory;
}

static int first_unit(int i)
{
	return (int)((long)i * opt.subs % opt.units);
}

static bool is_due(int i, long n)
{
	long unit = (n - 1) % opt.units - first_unit(i);

	return n >= sessions[i].from && (unit < 0 ? unit + opt.units : unit) < opt.subs;
}

static void session_close(struct session *s, const char *why, size_t len, int code)
{
	if (!trouble[0])
		snprintf(trouble, sizeof trouble, "session %d: %d %.*s", (int)(s - sessions), code,
		         (int)(len > 200 ? 200 : len), why);
	close(s->fd);
	s->fd = -1;
	run.closed++;
}

static void session_send(struct session *s, const char *bytes, size_t len)
{
	if (len && s->fd >= 0 && send(s->fd, bytes, len, MSG_NOSIGNAL) != (ssize_t)len)
		session_close(s, "send", 4, 0);
}

/* text with {unit} and {token} filled in for session i. */
static void fill_in(const char *text, int i, char *out, size_t room)
{
	size_t len = 0;

	while (*text && len + 1 < room) {
		char number[12];
		const char *with = NULL;
		size_t skip = 0;

		if (strncmp(text, "{unit}", 6) == 0) {
			snprintf(number, sizeof number, "%d", first_unit(i) + 1);
			with = number;
			skip = 6;
		} else if (strncmp(text, "{token}", 7) == 0 && opt.n_tokens) {
			with = opt.tokens[i % opt.n_tokens];
			skip = 7;
		}
		if (with) {
			len += (size_t)snprintf(out + len, room - len, "%s", with);
			text += skip;
		} else {
			out[len++] = *text++;
		}
	}
	if (len + 1 >= room) {
		errno = EMSGSIZE;
		die("path");
	}
	out[len] = 0;
}

static void session_start(int i)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)opt.port)};
	struct epoll_event e = {.events = EPOLLIN, .data.u32 = (uint32_t)i + 1};
	struct sockaddr_in from = {.sin_family = AF_INET};
	struct session *s = &sessions[i];
	int on = 1;
	char path[HELLO_BYTES - 300], hello[HELLO_BYTES];

	to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	from.sin_addr.s_addr = htonl(INADDR_LOOPBACK + (uint32_t)(i % opt.addresses));
	s->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (s->fd < 0)
		die("socket");
	/* The port comes with connect: so that many connections may share one. */
	setsockopt(s->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
	if (bind(s->fd, (struct sockaddr *)&from, sizeof from) != 0)
		die("bind");
	/* Blocking: loopback connects at once, or the server's backlog is full and we wait. */
	if (connect(s->fd, (struct sockaddr *)&to, sizeof to) != 0)
		die("connect");
	setsockopt(s->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
	if (epoll_ctl(loop_fd, EPOLL_CTL_ADD, s->fd, &e) != 0)
		die("epoll_ctl");
	s->unsubscribed = opt.subs;
	fill_in(opt.path, i, path, sizeof path);
	session_send(s, hello, wire_hello(opt.protocol, path, hello, sizeof hello));
}

static void session_ready(struct session *s)
{
	if (!s->ready) {
		s->ready = true;
		n_ready++;
	}
}

static void session_subscribe(struct session *s)
{
	int i = (int)(s - sessions);
	char topic[128], json[512], *out = must(malloc((size_t)opt.subs * 600)), since[100] = "";
	size_t len = 0;

	if (opt.protocol == WIRE_MQTT || opt.protocol == WIRE_NATS) {
		len = wire_subscribe(opt.protocol, opt.channel, out, 600);
	} else {
		if (s->since[0] || opt.since)
			snprintf(since, sizeof since, ",\"since\":\"%.80s\"", s->since[0] ? s->since : opt.since);
		for (int j = 0; j < opt.subs; j++) {
			snprintf(topic, sizeof topic, "%s%d", opt.channel, (first_unit(i) + j) % opt.units + 1);
			snprintf(json, sizeof json, "{\"type\":\"subscribe\",\"ref\":%d,\"channel\":\"%s\"%s}", j + 1, topic,
			         since);
			len += wire_text(json, strlen(json), out + len, 600);
		}
	}
	session_send(s, out, len);
	free(out);
}

static bool starts(const char *text, size_t len, const char *with)
{
	size_t n = strlen(with);

	return len >= n && memcmp(text, with, n) == 0;
}

static void count_event(struct session *s, long n, int64_t at)
{
	int i = (int)(s - sessions);
	long bit = n - run.from;

	if (n < run.from || n > run.to) {
		run.stray++;
	} else if (!is_due(i, n)) {
		run.foreign++;
		if (!trouble[0])
			snprintf(trouble, sizeof trouble, "session %d got event %ld, which is another's", i, n);
	} else if (s->seen[bit / 8] & 1 << bit % 8) {
		run.doubled++;
	} else {
		s->seen[bit / 8] |= (uint8_t)(1 << bit % 8);
		if (s->stamps)
			s->stamps[bit] = at;
		if (run.got++ == 0)
			run.first_ns = at;
		run.last_ns = at;
		if (n < s->last_n)
			run.disorder++;
		s->last_n = n;
	}
}

/* A text frame: an event, or one of the few control messages that matter here. */
static void take_text(struct session *s, const char *text, size_t len, int64_t at)
{
	const char *n = memmem(text, len, "\"n\":", 4);

	if (n) {
		count_event(s, strtol(n + 4, NULL, 10), at);
	} else if (starts(text, len, "{\"type\":\"welcome\"")) {
		session_subscribe(s);
	} else if (starts(text, len, "{\"type\":\"subscribed\"")) {
		if (memmem(text, len, "\"recovered\":false", 17))
			run.resyncs++;
		if (--s->unsubscribed == 0)
			session_ready(s);
	} else if (starts(text, len, "{\"type\":\"resync\"")) {
		run.resyncs++;
	} else if (starts(text, len, "{\"type\":\"error\"") && !trouble[0]) {
		snprintf(trouble, sizeof trouble, "session %d: %.*s", (int)(s - sessions), (int)(len > 300 ? 300 : len), text);
	}
}

static void take_frame(struct session *s, const struct wire_frame *frame, int64_t at)
{
	char out[140];

	switch (frame->kind) {
	case WIRE_TEXT:
		take_text(s, frame->text, frame->len, at);
		break;
	case WIRE_OPENED:
		s->opened = true;
		if (opt.protocol == WIRE_BARE)
			session_ready(s);
		else if (opt.protocol != WIRE_LIVEFEED)
			session_subscribe(s);
		break;
	case WIRE_READY:
		session_ready(s);
		break;
	case WIRE_PING:
		session_send(s, out, wire_pong(opt.protocol, frame->text, frame->len, out, sizeof out));
		break;
	case WIRE_CLOSED:
	case WIRE_BROKEN:
		session_close(s, frame->text, frame->len, frame->code);
		break;
	default:
		break;
	}
}

static void session_read(struct session *s)
{
	static char buffer[READ_BYTES * 2];
	size_t len = s->rest_len, done = 0;
	ssize_t n;
	int64_t at;

	if (s->fd < 0)
		return;
	if (len > READ_BYTES) { /* a huge frame: its buffer grows instead of ours */
		session_close(s, "frame too large for the bench", 29, 0);
		return;
	}
	memcpy(buffer, s->rest, len);
	n = recv(s->fd, buffer + len, READ_BYTES, MSG_DONTWAIT);
	if (n <= 0) {
		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return;
		session_close(s, "hung up", 7, 0);
		return;
	}
	at = now_ns();
	run.reads++;
	run.bytes += n;
	len += (size_t)n;
	while (s->fd >= 0) {
		struct wire_frame frame = wire_next(opt.protocol, s->opened, buffer + done, len - done);

		if (frame.kind == WIRE_MORE)
			break;
		take_frame(s, &frame, at);
		done += frame.used;
	}
	s->rest_len = len - done;
	if (s->rest_len > s->rest_room)
		s->rest = must(realloc(s->rest, s->rest_room = s->rest_len));
	memcpy(s->rest, buffer + done, s->rest_len);
}

/* One turn of the loop; true if stdin has something to say. */
static bool turn(int timeout_ms)
{
	struct epoll_event events[MAX_EVENTS];
	int n = epoll_wait(loop_fd, events, MAX_EVENTS, timeout_ms);
	bool command = false;

	for (int k = 0; k < n; k++) {
		if (events[k].data.u32 == 0)
			command = true;
		else
			session_read(&sessions[events[k].data.u32 - 1]);
	}
	return command;
}

static void do_open(void)
{
	int64_t began = now_ns(), until = began + OPEN_WAIT_MS * 1000000LL;

	while (n_ready < opt.sessions && run.closed == 0 && now_ns() < until) {
		for (int n = 0; n_started < opt.sessions && n_started - n_ready < opt.at_once && n < OPEN_AT_ONCE; n++)
			session_start(n_started++);
		turn(n_started < opt.sessions && n_started - n_ready < opt.at_once ? 0 : 100);
	}
	n_open = n_ready;
	printf("{\"ready\":%d,\"began_ns\":%ld,\"ready_ns\":%ld,\"trouble\":\"", n_ready, (long)began, (long)now_ns());
	for (const char *c = trouble; *c; c++)
		putchar(*c == '"' || *c == '\\' || (unsigned char)*c < ' ' ? '\'' : *c);
	printf("\"}\n");
}

/* With a reset: ten thousand ports that wait for stray packets would be missed soon. */
static void do_hangup(void)
{
	struct linger reset = {.l_onoff = 1};

	for (int i = 0; i < opt.sessions; i++) {
		struct session *s = &sessions[i];

		if (s->fd >= 0) {
			setsockopt(s->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
			close(s->fd);
		}
		s->fd = -1;
		s->opened = s->ready = false;
		s->rest_len = 0;
	}
	n_ready = n_open = n_started = 0;
	printf("{\"hungup\":%d}\n", opt.sessions);
}

/* "CURSOR N" a line, one for each session. */
static int read_sinces(const char *name)
{
	FILE *file = fopen(name, "r");
	int i = 0;

	if (!file)
		die(name);
	while (i < opt.sessions && fscanf(file, "%47s %ld", sessions[i].since, &sessions[i].from) == 2)
		i++;
	fclose(file);
	return i;
}

static void do_expect(long from, long to)
{
	size_t range = to >= from ? (size_t)(to - from + 1) : 0;
	bool stamps = opt.stamps && range * (size_t)opt.sessions <= MAX_STAMPS;

	if (from < 1 || range > (size_t)MAX_DUE / (size_t)opt.sessions * 8) {
		printf("{\"error\":\"range\"}\n");
		return;
	}
	memset(&run, 0, sizeof run);
	trouble[0] = 0;
	run.from = from;
	run.to = to;
	for (int i = 0; i < opt.sessions; i++) {
		struct session *s = &sessions[i];

		free(s->seen);
		free(s->stamps);
		s->seen = must(calloc(range / 8 + 1, 1));
		s->stamps = stamps ? must(calloc(range + 1, sizeof(int64_t))) : NULL;
		s->last_n = 0;
		for (long n = from; n <= to; n++)
			run.due += is_due(i, n);
	}
	printf("{\"due\":%ld}\n", (long)run.due);
}

static void do_wait(long ms)
{
	int64_t until = now_ns() + ms * 1000000LL;

	while (run.got < run.due && run.closed == 0 && now_ns() < until)
		turn(50);
	turn(0);
	printf("{\"due\":%ld,\"got\":%ld,\"doubled\":%ld,\"foreign\":%ld,\"stray\":%ld,\"disorder\":%ld,\"resyncs\":%ld,"
	       "\"closed\":%ld,\"reads\":%ld,\"bytes\":%ld,\"first_ns\":%ld,\"last_ns\":%ld,\"trouble\":\"",
	       (long)run.due, (long)run.got, (long)run.doubled, (long)run.foreign, (long)run.stray, (long)run.disorder,
	       (long)run.resyncs, (long)run.closed, (long)run.reads, (long)run.bytes, (long)run.first_ns,
	       (long)run.last_ns);
	for (const char *c = trouble; *c; c++)
		putchar(*c == '"' || *c == '\\' || (unsigned char)*c < ' ' ? '\'' : *c);
	printf("\"}\n");
}

static void do_stamps(void)
{
	for (long n = run.from; n <= run.to; n++) {
		bool first = true;

		printf("{\"n\":%ld,\"at\":[", n);
		for (int i = 0; i < opt.sessions; i++) {
			if (!sessions[i].stamps || !sessions[i].stamps[n - run.from])
				continue;
			printf("%s%ld", first ? "" : ",", (long)sessions[i].stamps[n - run.from]);
			first = false;
		}
		printf("]}\n");
	}
	printf("{\"end\":true}\n");
}

/* False: time to go. */
static bool obey(const char *line)
{
	char name[COMMAND_BYTES];
	long a, b;

	if (strcmp(line, "open") == 0)
		do_open();
	else if (strcmp(line, "hangup") == 0)
		do_hangup();
	else if (sscanf(line, "resume %255s", name) == 1)
		printf("{\"resumes\":%d}\n", read_sinces(name));
	else if (sscanf(line, "expect %ld %ld", &a, &b) == 2)
		do_expect(a, b);
	else if (sscanf(line, "wait %ld", &a) == 1)
		do_wait(a);
	else if (strcmp(line, "stamps") == 0)
		do_stamps();
	else if (strcmp(line, "quit") == 0)
		return false;
	else
		printf("{\"error\":\"no such command\"}\n");
	fflush(stdout);
	return true;
}

static bool read_commands(void)
{
	static char line[COMMAND_BYTES];
	static size_t len;
	ssize_t n = read(STDIN_FILENO, line + len, sizeof line - 1 - len);
	char *end;

	if (n <= 0)
		return false;
	len += (size_t)n;
	line[len] = 0;
	while ((end = strchr(line, '\n'))) {
		*end = 0;
		if (!obey(line))
			return false;
		len -= (size_t)(end + 1 - line);
		memmove(line, end + 1, len + 1);
	}
	return len < sizeof line - 1;
}

static void read_tokens(const char *name)
{
	FILE *file = fopen(name, "r");
	char *line = NULL;
	size_t room = 0;
	ssize_t len;

	if (!file)
		die(name);
	while ((len = getline(&line, &room, file)) > 0) {
		line[strcspn(line, "\n")] = 0;
		opt.tokens = must(realloc(opt.tokens, sizeof(char *) * (size_t)(opt.n_tokens + 1)));
		opt.tokens[opt.n_tokens++] = must(strdup(line));
	}
	free(line);
	fclose(file);
}

static enum wire_protocol protocol_named(const char *name)
{
	static const char *const names[] = {"livefeed", "bare", "mqtt", "nats"};

	for (int i = 0; i < 4; i++)
		if (strcmp(name, names[i]) == 0)
			return (enum wire_protocol)i;
	fprintf(stderr, "wsload: no such protocol: %s\n", name);
	exit(2);
}

static void read_options(int argc, char **argv)
{
	static const struct option options[] = {{"port", 1, 0, 'p'},    {"protocol", 1, 0, 'P'},
	                                        {"path", 1, 0, 'u'},    {"tokens", 1, 0, 't'},
	                                        {"channel", 1, 0, 'c'}, {"sessions", 1, 0, 'n'},
	                                        {"subs", 1, 0, 's'},    {"units", 1, 0, 'm'},
	                                        {"since", 1, 0, 'S'},   {"stamps", 0, 0, 'T'},
	                                        {"sinces", 1, 0, 'f'},  {"addresses", 1, 0, 'a'},
	                                        {"at-once", 1, 0, 'o'}, {0, 0, 0, 0}};
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (c) {
		case 'p':
			opt.port = atoi(optarg);
			break;
		case 'P':
			opt.protocol = protocol_named(optarg);
			break;
		case 'u':
			opt.path = optarg;
			break;
		case 't':
			read_tokens(optarg);
			break;
		case 'c':
			opt.channel = optarg;
			break;
		case 'n':
			opt.sessions = atoi(optarg);
			break;
		case 's':
			opt.subs = atoi(optarg);
			break;
		case 'm':
			opt.units = atoi(optarg);
			break;
		case 'S':
			opt.since = optarg;
			break;
		case 'T':
			opt.stamps = true;
			break;
		case 'f':
			opt.sinces = optarg;
			break;
		case 'a':
			opt.addresses = atoi(optarg);
			break;
		case 'o':
			opt.at_once = atoi(optarg);
			break;
		default:
			exit(2);
		}
	}
	if (opt.port <= 0 || opt.sessions < 1 || opt.units < 1 || opt.subs < 1 || opt.subs > opt.units ||
	    opt.addresses < 1 || opt.addresses > 250 || opt.at_once < 1) {
		fprintf(stderr, "wsload: needs --port, 1 <= subs <= units, 1 <= addresses <= 250 and at-once\n");
		exit(2);
	}
}

int main(int argc, char **argv)
{
	struct epoll_event e = {.events = EPOLLIN, .data.u32 = 0};

	struct rlimit files;

	read_options(argc, argv);
	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = files.rlim_max;
		setrlimit(RLIMIT_NOFILE, &files);
	}
	sessions = must(calloc((size_t)opt.sessions, sizeof *sessions));
	for (int i = 0; i < opt.sessions; i++) {
		sessions[i].fd = -1;
		sessions[i].rest = must(malloc(1));
	}
	if (opt.sinces && read_sinces(opt.sinces) != opt.sessions) {
		fprintf(stderr, "wsload: %s needs a line for each session\n", opt.sinces);
		exit(2);
	}
	loop_fd = epoll_create1(EPOLL_CLOEXEC);
	if (loop_fd < 0 || epoll_ctl(loop_fd, EPOLL_CTL_ADD, STDIN_FILENO, &e) != 0)
		die("epoll");
	for (;;)
		if (turn(-1) && !read_commands())
			break;
	return 0;
}
