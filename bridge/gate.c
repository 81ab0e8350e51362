/*
 * gate.c - what of a client's bytes libwebsockets gets to see, and when (gate.h).
 *
 * A gate goes HEAD -> (BODY ->) BUSY -> HEAD ... for requests, HEAD -> BUSY -> FRAMES for a WebSocket, and from any of them to DROP.
 *
 *   HEAD    a request's head is gathered here, at most max_header_bytes, and judged. Handed on whole, or never: in place of a bad one
 *           libwebsockets gets a stock request, and the answer to that is the refusal.
 *   BODY    as many bytes as Content-Length said; until they are here, the request is unfinished.
 *   BUSY    until the answer is given. Bytes that come by now are thrown away, and the connection is closed behind the answer: so
 *           nothing behind a body, read or unread, is ever taken for a request.
 *   FRAMES  a WebSocket. The frames are followed; before the first that breaks a rule, it ends.
 *   DROP    nothing is handed on any more; what comes is read and thrown away until the connection is closed.
 *
 * Connections in HEAD or BODY whose first byte, or whose beginning, is not followed by the rest stand in a list, oldest first: so they can be
 * ended in time, and when there are too many of them.
 */
#include "gate.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "framing.h"

#define CLOSE_RATE 4429
#define CREDIT_UNIT 1000
#define SCRATCH_BYTES 16384
#define DROPS_PER_READ 32 /* of SCRATCH_BYTES; who sends more at once is closed where reading cannot be put off */
#define HEAD_FIRST_BYTES 1024

enum gate_state { GATE_HEAD, GATE_BODY, GATE_BUSY, GATE_FRAMES, GATE_DROP };

struct gate {
	int fd;
	uint8_t state;
	bool listed; /* among the unfinished */
	bool spoilt; /* bytes were thrown away */
	uint16_t fault;
	const char *reason;
	void *connection;
	struct gate *prev, *next;
	char *bytes; /* of a head, from its first byte until it is answered */
	size_t len, size;
	uint64_t body_left;
	struct head head;
	struct head_fault refusal;
	struct framing framing;
	int64_t since_ms; /* HEAD: since its first byte or its beginning; else: last heard */
	int64_t credit, credit_ms;
};

static struct gate_settings settings;
static struct gate **gates; /* by file descriptor */
static int n_gates;
static struct gate *oldest, *newest;
static size_t n_unfinished;

void gate_configure(const struct gate_settings *new)
{
	settings = *new;
}

/* ---- the unfinished */

static void list(struct gate *gate)
{
	if (gate->listed) {
		return;
	}
	gate->listed = true;
	gate->since_ms = settings.now_ms(settings.arg);
	gate->next = NULL;
	gate->prev = newest;
	*(newest ? &newest->next : &oldest) = gate;
	newest = gate;
	n_unfinished++;
}

void gate_forget(struct gate *gate)
{
	if (!gate->listed) {
		return;
	}
	gate->listed = false;
	*(gate->prev ? &gate->prev->next : &oldest) = gate->next;
	*(gate->next ? &gate->next->prev : &newest) = gate->prev;
	n_unfinished--;
}

void *gate_oldest(int64_t *since_ms)
{
	if (!oldest) {
		return NULL;
	}
	*since_ms = oldest->since_ms;
	return oldest->connection;
}

size_t gate_unfinished(void)
{
	return n_unfinished;
}

/* ---- life */

bool gate_open(int fd)
{
	if (fd >= n_gates) {
		int n = n_gates ? n_gates : 64;
		while (n <= fd) {
			n *= 2;
		}
		struct gate **bigger = realloc(gates, (size_t)n * sizeof *gates);
		if (!bigger) {
			return false;
		}
		memset(bigger + n_gates, 0, (size_t)(n - n_gates) * sizeof *gates);
		gates = bigger;
		n_gates = n;
	}
	gate_close(fd);
	struct gate *gate = calloc(1, sizeof *gate);
	if (!gate) {
		return false;
	}
	gate->fd = fd;
	gates[fd] = gate;
	list(gate);
	return true;
}

struct gate *gate_of(int fd)
{
	return fd >= 0 && fd < n_gates ? gates[fd] : NULL;
}

void gate_attach(int fd, void *connection)
{
	struct gate *gate = gate_of(fd);
	if (gate) {
		gate->connection = connection;
	}
}

void *gate_connection(const struct gate *gate)
{
	return gate->connection;
}

static void let_go(struct gate *gate)
{
	if (gate->bytes) {
		explicit_bzero(gate->bytes, gate->size); /* there may be a token in it */
	}
	free(gate->bytes);
	gate->bytes = NULL;
	gate->len = gate->size = 0;
	gate->head = (struct head){0};
}

void gate_close(int fd)
{
	struct gate *gate = gate_of(fd);
	if (gate) {
		gate_forget(gate);
		let_go(gate);
		gates[fd] = NULL;
		free(gate);
	}
}

/* ---- requests */

static const char stock_request[] = "GET / HTTP/1.1\r\nHost: refused\r\n\r\n";

static void refuse(struct gate *gate, const struct head_fault *fault)
{
	gate->refusal = *fault;
	gate->state = GATE_DROP;
	gate->spoilt = true;
	gate_forget(gate);
	let_go(gate);
}

static bool gather(struct gate *gate, const char *bytes, size_t len)
{
	if (gate->len + len > gate->size) {
		size_t size = gate->size ? gate->size : HEAD_FIRST_BYTES;
		while (size < gate->len + len) {
			size *= 2;
		}
		char *bigger = malloc(size);
		if (!bigger) {
			return false;
		}
		if (gate->bytes) {
			memcpy(bigger, gate->bytes, gate->len);
			explicit_bzero(gate->bytes, gate->size);
			free(gate->bytes);
		}
		gate->bytes = bigger;
		gate->size = size;
	}
	memcpy(gate->bytes + gate->len, bytes, len);
	gate->len += len;
	return true;
}

/* The head is whole: it goes to `to`, with as much of the body as has come with it. */
static size_t pass_head(struct gate *gate, size_t end, char *to, size_t len)
{
	struct head_fault fault = {500, "unavailable", "the request is too long"};
	size_t behind = gate->len - end, head_len = end;
	if (!head_judge(gate->bytes, &head_len, settings.max_body_bytes, &gate->head, &fault) || head_len > len) {
		refuse(gate, &fault);
		return 0;
	}
	memcpy(to, gate->bytes, head_len);
	size_t body = gate->head.body < behind ? (size_t)gate->head.body : behind;
	body = body < len - head_len ? body : len - head_len;
	memcpy(to + head_len, gate->bytes + end, body);
	gate->body_left = gate->head.body - body;
	gate->spoilt = behind > body;
	gate->state = gate->body_left > 0 && !gate->spoilt ? GATE_BODY : GATE_BUSY;
	gate->len = head_len;
	if (gate->state != GATE_BODY) {
		gate_forget(gate);
	}
	return head_len + body;
}

/* More of a head. Returns how many bytes are in `to` for libwebsockets. */
static size_t take_head(struct gate *gate, const char *bytes, size_t got, char *to, size_t len)
{
	static const struct head_fault too_large = {431, "too_large", "the headers are larger than --max-header"};
	static const struct head_fault no_memory = {503, "unavailable", "out of memory"};
	struct head_fault fault;
	size_t from = gate->len, end = 0;
	list(gate);
	if (!gather(gate, bytes, got)) {
		refuse(gate, &no_memory);
	} else {
		end = head_end(gate->bytes, gate->len, from);
		if (!head_look(gate->bytes, end ? end : gate->len, from, &fault)) {
			refuse(gate, &fault);
		} else if ((end ? end : gate->len) > settings.max_header_bytes) {
			refuse(gate, &too_large);
		}
	}
	return gate->state == GATE_HEAD && end > 0 ? pass_head(gate, end, to, len) : 0;
}

const struct head *gate_request(const struct gate *gate)
{
	return gate && (gate->state == GATE_BUSY || gate->state == GATE_BODY || gate->state == GATE_DROP) ? &gate->head
	                                                                                                  : NULL;
}

const struct head_fault *gate_refusal(const struct gate *gate)
{
	return gate && gate->refusal.status ? &gate->refusal : NULL;
}

bool gate_answered(struct gate *gate)
{
	if (gate->spoilt || (gate->state != GATE_BUSY && gate->state != GATE_HEAD)) {
		gate_forget(gate);
		gate->state = GATE_DROP;
		return false;
	}
	let_go(gate);
	gate->state = GATE_HEAD;
	return true;
}

/* ---- frames */

void gate_upgraded(struct gate *gate)
{
	if (gate->spoilt) { /* who did not wait for the answer */
		gate->state = GATE_DROP;
		gate->fault = 1002;
		gate->reason = "bytes before the handshake was answered";
		settings.faulty(settings.arg, gate->connection);
	} else {
		gate->state = GATE_FRAMES;
	}
	gate->since_ms = settings.now_ms(settings.arg);
	gate->credit = settings.burst * CREDIT_UNIT;
	gate->credit_ms = gate->since_ms;
	let_go(gate);
}

static bool take_credit(struct gate *gate)
{
	int64_t burst = settings.burst * CREDIT_UNIT, passed_ms = gate->since_ms - gate->credit_ms;
	if (settings.rate_per_s <= 0) {
		return true;
	}
	if (passed_ms > 0) {
		gate->credit_ms = gate->since_ms;
		gate->credit += passed_ms > burst ? burst : passed_ms * settings.rate_per_s;
	}
	gate->credit = gate->credit > burst ? burst : gate->credit;
	gate->credit -= (int64_t)gate->framing.charged * CREDIT_UNIT;
	gate->framing.charged = 0;
	return gate->credit >= 0;
}

static void set_fault(struct gate *gate, int code, const char *reason)
{
	gate->state = GATE_DROP;
	gate->fault = (uint16_t)code;
	gate->reason = reason;
	settings.faulty(settings.arg, gate->connection);
}

/* Returns how many of the bytes may go on. */
static size_t follow(struct gate *gate, const uint8_t *bytes, size_t len)
{
	size_t good;
	int code;
	const char *reason;
	gate->since_ms = settings.now_ms(settings.arg);
	size_t read = framing_follow(&gate->framing, settings.max_message_bytes, bytes, len, &good, &code, &reason);
	if (code != 0) {
		set_fault(gate, code, reason);
		/* Behind what is too large the close frame can still be found. */
		(void)framing_follow(&gate->framing, UINT64_MAX, bytes + read, len - read, &read, &code, &reason);
	} else if (gate->framing.charged > 0 && !take_credit(gate)) {
		set_fault(gate, CLOSE_RATE, "too many control frames or small fragments");
		return 0;
	}
	return good;
}

int gate_fault(const struct gate *gate, const char **reason)
{
	*reason = gate->reason;
	return gate->fault;
}

int64_t gate_heard_ms(const struct gate *gate)
{
	return gate->since_ms;
}

void gate_heard(struct gate *gate)
{
	gate->since_ms = settings.now_ms(settings.arg);
}

int gate_files(void)
{
	return n_gates;
}

void *gate_websocket(int fd)
{
	struct gate *gate = gate_of(fd);
	return gate && gate->state == GATE_FRAMES ? gate->connection : NULL;
}

/* ---- reading */

/* All that has come is thrown away. Returns what source said last, or -1 if there is no end to it. */
static ssize_t drop(struct gate *gate, gate_source source, void *arg)
{
	static uint8_t scratch[SCRATCH_BYTES];
	for (int i = 0; i < DROPS_PER_READ; i++) {
		ssize_t n = source(arg, scratch, sizeof scratch);
		if (n <= 0) {
			return n;
		}
		if (gate->fault != 0 && !gate->framing.closed) {
			size_t good;
			int code;
			const char *reason;
			(void)framing_follow(&gate->framing, UINT64_MAX, scratch, (size_t)n, &good, &code, &reason);
		}
		if (gate->fault != 0 && gate->framing.closed) {
			return 0; /* both have said that they close */
		}
		gate->spoilt = true;
	}
	errno = EAGAIN;
	return -1;
}

ssize_t gate_read(struct gate *gate, gate_source source, void *arg, void *to, size_t len, bool until_dry)
{
	static char scratch[SCRATCH_BYTES];
	for (;;) {
		size_t max = len;
		ssize_t n;
		switch (gate->state) {
		case GATE_HEAD:
			n = source(arg, scratch, sizeof scratch);
			if (n <= 0) {
				return n;
			}
			size_t out = take_head(gate, scratch, (size_t)n, to, len);
			explicit_bzero(scratch, (size_t)n);
			if (gate->state == GATE_DROP && sizeof stock_request - 1 <= len) {
				/* What else has come is taken, or the kernel would reset the connection, and lose the answer. */
				(void)drop(gate, source, arg);
				out = sizeof stock_request - 1;
				memcpy(to, stock_request, out);
			}
			if (out > 0) {
				return (ssize_t)out;
			}
			break;
		case GATE_BODY:
			max = gate->body_left < len ? (size_t)gate->body_left : len;
			n = source(arg, to, max);
			if (n <= 0) {
				return n;
			}
			gate->body_left -= (uint64_t)n;
			if (gate->body_left == 0) {
				gate->state = GATE_BUSY;
				gate_forget(gate);
			}
			return n;
		case GATE_FRAMES:
			n = source(arg, to, len);
			if (n <= 0) {
				return n;
			}
			size_t good = follow(gate, to, (size_t)n);
			if (good > 0) {
				return (ssize_t)good;
			}
			break;
		default:
			return drop(gate, source, arg);
		}
		if (!until_dry) {
			errno = EAGAIN;
			return -1;
		}
	}
}

typedef ssize_t (*recv_function)(int fd, void *to, size_t len, int flags);

static recv_function system_recv(void)
{
	static recv_function found;
	if (!found) {
		*(void **)&found = dlsym(RTLD_NEXT, "recv");
	}
	return found;
}

static ssize_t source_recv(void *arg, void *to, size_t len)
{
	return system_recv()(((struct gate *)arg)->fd, to, len, 0);
}

/* In front of the C library's, for libwebsockets: see gate.h. */
ssize_t recv(int fd, void *to, size_t len, int flags)
{
	struct gate *gate = gate_of(fd);
	if (!gate || flags != 0) {
		return system_recv()(fd, to, len, flags);
	}
	return gate_read(gate, source_recv, gate, to, len, false);
}
