/*
 * stream.h - what GET /events and /poll have in common, without sockets: what is asked for, and what of a session's frames its client
 * is sent. Plain C.
 */
#ifndef LIVEFEED_STREAM_H
#define LIVEFEED_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "event.h"
#include "frame.h"

/* Of one request. What a session may have (--max-subscriptions) is the session's to say. */
#define STREAM_CHANNELS_MAX 4096
#define STREAM_WAIT_DEFAULT_MS 25000
#define STREAM_WAIT_MAX_MS 55000

struct stream_ask {
	char **channels; /* each a JSON text; what is wrong with one, the session says */
	size_t n_channels, capacity;
	char *since; /* a JSON text; NULL: none */
	bool snapshot;
	int64_t wait_ms;
	bool failed; /* out of memory */
};

void stream_ask_begin(struct stream_ask *ask);
void stream_ask_end(struct stream_ask *ask);
/* One argument of a query string, decoded: NAME=VALUE. Others than channel, since, snapshot and wait are not looked at. False: *error. */
bool stream_ask_argument(struct stream_ask *ask, struct text argument, const char **error);
/* A body: a JSON object with channel (a string or an array), since, snapshot, wait. False: *error, static or valid until the next call. */
bool stream_ask_body(struct stream_ask *ask, struct text body, const char **error);
/* Of EventSource: counts where it is later than since, or of another history. */
void stream_ask_last_id(struct stream_ask *ask, struct text id);
/* Is it all there? False: *error. */
bool stream_ask_check(const struct stream_ask *ask, const char **error);
/* The subscribe for channel i, as a WebSocket would send it: malloc'ed, *len bytes. NULL: out of memory. */
char *stream_ask_message(const struct stream_ask *ask, size_t i, size_t *len);

/* The answers to those subscribes, among the first frames. */
struct stream_answers {
	size_t answered, refused;
	struct frame *refusal; /* the first error of all, borrowed; NULL: none */
	bool unavailable; /* a channel was refused for now */
	bool something; /* there is more than answers and values */
	bool value;
};
/* Looks at one more frame. */
void stream_look(struct stream_answers *answers, struct frame *frame);
/*
 * All are answered: is that an HTTP error? Where each is refused; and where one is refused for now, whatever the others are: the client
 * has one cursor for all, which would move on without that channel's events.
 */
bool stream_is_refused(const struct stream_answers *answers, size_t n_channels);

/*
 * What the client is sent of it: a reference, to be given up; NULL: nothing (*failed: out of memory). These clients are not sent `welcome`
 * and `subscribed`: one that was not recovered becomes a `resync`. An error loses its ref.
 */
struct frame *stream_frame(struct frame *frame, bool *failed);
/* The last frame of a stream. */
struct frame *stream_closing(int code, const char *reason);

#endif
