/*
 * channel.h - the grammar of channel names: FEED, FEED:unit:VALUE,
 * FEED:user:VALUE, FEED:row:VALUE (PROTOCOL.md, Words).
 *
 * A value is written as encodeURIComponent writes it and in no other way, so
 * that no value can pass for another channel and each channel has one name.
 */
#ifndef LIVEFEED_CHANNEL_H
#define LIVEFEED_CHANNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "event.h"

#define CHANNEL_NAME_MAX_BYTES 1024

enum scope { SCOPE_FEED, SCOPE_UNIT, SCOPE_USER, SCOPE_ROW };

struct channel_name {
	struct text feed; /* points into the name parsed */
	enum scope scope;
	struct text value; /* as written (encoded); NULL for SCOPE_FEED */
};

/* False: not a canonical channel name. Nothing is allocated. */
bool channel_parse(const char *name, size_t len, struct channel_name *out);
/*
 * Decodes the value of a unit or user channel, or of a row channel of a single-column
 * key, into buf of at least value.len bytes; returns its length. (A row
 * channel's value of a composite key decodes part by part: its KEY text in an event is the
 * encoded values joined by ',', whereas that of a single-column key is plain;
 * see channel_key.)
 */
size_t channel_decode(struct text value, char *buf);
/*
 * The `key` that events of this row channel carry: commas separate the parts of a composite key and
 * are never left bare inside an encoded value, so a value with a bare comma is returned
 * as it stands and any other is decoded. Returns the length written to buf (at least value.len bytes).
 */
size_t channel_key(struct text value, char *buf);
/* Number of columns that a row channel's value names: its bare commas and one. */
size_t channel_key_columns(struct text value);
/* Of the plain value, as events carry it (route.h). The same in route and history. */
uint64_t channel_hash(struct text feed, enum scope scope, struct text value);
/* encodeURIComponent of plain, into buf of at least 3 * plain.len bytes; returns the length. */
size_t channel_encode(struct text plain, char *buf);

#endif
