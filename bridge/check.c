/*
 * check.c - --check: would this configuration serve (check.h)? A line for each thing looked at; inspect.c looks.
 */
#include "check.h"

#include <stdio.h>

#include "inspect.h"
#include "terminal.h"

static void found(struct inspect *inspect, bool good, const char *topic, const char *text, const char *cure)
{
	int *code = inspect->arg;
	(void)cure; /* doctor tells */
	printf("%s: ", topic);
	(void)terminal_puts(stdout, text);
	putchar('\n');
	if (!good) {
		*code = 1;
	}
}

static void whole(struct inspect *inspect)
{
	*(int *)inspect->arg = 0;
}

int check_run(const struct config *config)
{
	static const struct inspect_events events = {found, whole, NULL, NULL};
	uv_loop_t loop;
	int code = -1;
	struct inspect inspect = {
		.events = &events, .arg = &code, .loop = &loop, .dsn = config->dsn, .program = "livefeed-bridge --check"};
	uv_loop_init(&loop);
	printf("configuration: good\n");
	if (inspect_start(&inspect)) {
		while (code < 0 && uv_run(&loop, UV_RUN_ONCE)) {
		}
	}
	inspect_end(&inspect);
	uv_run(&loop, UV_RUN_DEFAULT);
	uv_loop_close(&loop);
	return code == 0 ? 0 : 1;
}
