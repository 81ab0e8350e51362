/*
 * fuzz_look.c - what a terminal gets of a frame (look_show.c): any bytes, nothing that moves it.
 *
 * Input: a frame. Shown for a terminal and as JSON it is valid UTF-8 without control bytes, but line feeds and, where
 * they were asked for, our own colours. A line of JSON is one line; of what was JSON it is JSON.
 */
#include "fuzz.h"

#include "look_show.h"

static void check(const struct json_out *out, bool coloured)
{
	MUST(!out->failed && utf8_is_valid(out->bytes, out->len));
	for (size_t i = 0; i < out->len; i++) {
		unsigned char c = (unsigned char)out->bytes[i];

		if (coloured && c == 0x1B) {
			size_t n = i + 2;

			MUST(n < out->len && out->bytes[i + 1] == '[');
			while (n < out->len && out->bytes[n] >= '0' && out->bytes[n] <= '9')
				n++;
			MUST(n < out->len && out->bytes[n] == 'm');
			continue;
		}
		MUST(c == '\n' || (c >= 0x20 && c != 0x7F));
		MUST(c != 0xC2 || (unsigned char)out->bytes[i + 1] >= 0xA0);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct look_style styles[] = {{true, false}, {false, false}, {false, true}};
	struct text frame = {(const char *)data, size};
	struct json_fault fault;
	bool is_json = size > 0 && json_check(frame.bytes, frame.len, NULL, 0, &fault);

	for (int i = 0; i < 3; i++) {
		struct json_out out = {0};
		enum look_kind kind = look_show(&out, frame, &styles[i]);

		check(&out, styles[i].colour);
		MUST((kind == LOOK_WELCOME) == (out.len == 0));
		if (i == 0 && out.len > 0 && memchr(data, '\n', size) == NULL) {
			MUST(memchr(out.bytes, '\n', out.len) == out.bytes + out.len - 1);
			MUST(!is_json || json_check(out.bytes, out.len - 1, NULL, 0, &fault));
		}
		free(out.bytes);
	}
	return 0;
}
