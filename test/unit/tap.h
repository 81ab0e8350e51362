/*
 * tap.h - the little that unit tests need: assertions that print TAP, with the
 * plan at the end. One program a room; main ends with `return tap_done();`.
 *
 *   ok(condition, "name %d", i);   is_int(got, want, "name");   is_str(got, want, "name");
 *   is_mem(got, got_len, want, want_len, "name");   fail("name");   diag("a remark");
 *
 * Each is true when it passed, so that what depends on it can be left out.
 */
#ifndef LIVEFEED_TAP_H
#define LIVEFEED_TAP_H

#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

static int tap_count, tap_failed;

#define TAP_UNUSED __attribute__((unused))

__attribute__((format(printf, 1, 2))) TAP_UNUSED static void diag(const char *format, ...)
{
	va_list arguments;

	fputs("# ", stdout);
	va_start(arguments, format);
	vprintf(format, arguments);
	va_end(arguments);
	putchar('\n');
	fflush(stdout);
}

__attribute__((format(printf, 4, 5))) TAP_UNUSED static bool tap_report(bool passed, const char *file, int line,
                                                                        const char *format, ...)
{
	va_list arguments;
	char name[512];

	va_start(arguments, format);
	vsnprintf(name, sizeof name, format, arguments);
	va_end(arguments);
	for (char *c = name; *c != '\0'; c++)
		if ((unsigned char)*c < 0x20 || *c == '#')
			*c = ' '; /* a name is one line, and # would begin a directive */
	printf("%sok %d - %s\n", passed ? "" : "not ", ++tap_count, name);
	if (!passed) {
		tap_failed++;
		printf("# failed at %s line %d\n", file, line);
	}
	fflush(stdout); /* what was reported stays reported if the next thing crashes */
	return passed;
}

#define ok(condition, ...) tap_report((condition), __FILE__, __LINE__, __VA_ARGS__)
#define fail(...) tap_report(false, __FILE__, __LINE__, __VA_ARGS__)

#define is_int(got, want, ...)                                                                                         \
	({                                                                                                                 \
		int64_t tap_got_ = (int64_t)(got), tap_want_ = (int64_t)(want);                                                \
		bool tap_same_ = tap_report(tap_got_ == tap_want_, __FILE__, __LINE__, __VA_ARGS__);                           \
		if (!tap_same_)                                                                                                \
			diag("got %lld, want %lld", (long long)tap_got_, (long long)tap_want_);                                    \
		tap_same_;                                                                                                     \
	})

TAP_UNUSED static bool tap_same_string(const char *got, const char *want)
{
	return got == NULL || want == NULL ? got == want : strcmp(got, want) == 0;
}

#define is_str(got, want, ...)                                                                                         \
	({                                                                                                                 \
		const char *tap_got_ = (got), *tap_want_ = (want);                                                             \
		bool tap_same_ = tap_report(tap_same_string(tap_got_, tap_want_), __FILE__, __LINE__, __VA_ARGS__);            \
		if (!tap_same_) {                                                                                              \
			diag(" got %s", tap_got_ == NULL ? "(NULL)" : tap_got_);                                                   \
			diag("want %s", tap_want_ == NULL ? "(NULL)" : tap_want_);                                                 \
		}                                                                                                              \
		tap_same_;                                                                                                     \
	})

#define is_mem(got, got_len, want, want_len, ...)                                                                      \
	({                                                                                                                 \
		const void *tap_got_ = (got), *tap_want_ = (want);                                                             \
		size_t tap_got_len_ = (got_len), tap_want_len_ = (want_len);                                                   \
		bool tap_same_ = tap_report(tap_got_len_ == tap_want_len_ &&                                                   \
		                                (tap_got_len_ == 0 || memcmp(tap_got_, tap_want_, tap_got_len_) == 0),         \
		                            __FILE__, __LINE__, __VA_ARGS__);                                                  \
		if (!tap_same_) {                                                                                              \
			diag(" got %zu bytes: %.*s", tap_got_len_, (int)tap_got_len_, (const char *)tap_got_);                     \
			diag("want %zu bytes: %.*s", tap_want_len_, (int)tap_want_len_, (const char *)tap_want_);                  \
		}                                                                                                              \
		tap_same_;                                                                                                     \
	})

/* The plan, and the exit status of the program: 0 all passed, 1 not. */
TAP_UNUSED static int tap_done(void)
{
	printf("1..%d\n", tap_count);
	return tap_failed == 0 && tap_count > 0 ? 0 : 1;
}

#endif
