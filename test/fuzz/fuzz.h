/*
 * fuzz.h - what the fuzz targets share: saying what must hold, and cutting an input into parts.
 *
 * A target is fuzz_NAME.c. It gives any bytes to a room of the bridge and states what must hold then, beyond "it does
 * not crash": round trips, one form of each thing, what being accepted implies.
 */
#ifndef LIVEFEED_FUZZ_H
#define LIVEFEED_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "event.h"
#include "frame.h"
#include "jsontext.h"
#include "text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

/* What does not hold ends the run, as a crash does; the fuzzer keeps the input. */
#define MUST(condition)                                                                                                \
	do {                                                                                                               \
		if (!(condition)) {                                                                                            \
			fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, #condition);                             \
			abort();                                                                                                   \
		}                                                                                                              \
	} while (0)

struct input {
	const char *at, *end;
};

static inline struct input input_of(const uint8_t *data, size_t size)
{
	return (struct input){(const char *)data, (const char *)data + size};
}

static inline unsigned input_byte(struct input *input)
{
	return input->at < input->end ? (unsigned char)*input->at++ : 0;
}

/* Up to the next line feed, which is cut off. */
static inline struct text input_line(struct input *input)
{
	size_t left = (size_t)(input->end - input->at);
	const char *newline = left > 0 ? memchr(input->at, '\n', left) : NULL;
	struct text line = {input->at, newline != NULL ? (size_t)(newline - input->at) : left};

	input->at += line.len + (newline != NULL);
	return line;
}

static inline struct text input_rest(struct input *input)
{
	struct text rest = {input->at, (size_t)(input->end - input->at)};

	input->at = input->end;
	return rest;
}

/* As a C string of exactly its size, so that the sanitizer sees who reads on; it ends at a NUL. The caller frees. */
static inline char *input_string(struct text text)
{
	size_t len = text.len > 0 ? strnlen(text.bytes, text.len) : 0;
	char *string = malloc(len + 1);

	if (len > 0)
		memcpy(string, text.bytes, len);
	string[len] = '\0';
	return string;
}

/* Bytes of exactly their size. The caller frees. */
static inline char *input_copy(struct text text)
{
	char *copy = malloc(text.len > 0 ? text.len : 1);

	if (text.len > 0)
		memcpy(copy, text.bytes, text.len);
	return copy;
}

static inline bool is_printable(const char *text)
{
	for (; *text != '\0'; text++)
		if (*text < 0x20 || *text > 0x7E)
			return false;
	return true;
}

static inline bool is_json(const char *text, size_t len)
{
	struct json_fault fault;

	return json_check(text, len, NULL, 0, &fault);
}

/* The value of a member of an object that must be JSON, as it is written there; bytes NULL: it has none. */
static inline struct text json_member(struct text object, const char *name)
{
	struct json_wanted wanted = {.name = name};
	struct json_fault fault;

	MUST(json_check(object.bytes, object.len, &wanted, 1, &fault));
	return wanted.value;
}

/* Is that member this string, written as we write strings? Of NULL: null. */
static inline bool json_member_is(struct text object, const char *name, const char *plain)
{
	struct text value = json_member(object, name);
	struct json_out out = {0};
	bool same;

	json_put_string(&out, plain);
	same = value.len == out.len && memcmp(value.bytes, out.bytes, out.len) == 0;
	free(out.bytes);
	return same;
}

static inline struct text frame_json(struct frame *frame)
{
	MUST(frame != NULL);
	return (struct text){frame_text(frame), frame->len};
}

#endif
