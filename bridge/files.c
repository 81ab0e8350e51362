/*
 * files.c - --static: files of one folder, for a demo or a page that belongs to the bridge. No listing, no hidden
 * files, nothing outside of the folder, links included.
 */
#include "transport.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "metrics.h"
#include "request.h"

static const struct {
	const char *suffix, *type;
} types[] = {
	{".html", "text/html; charset=utf-8"},
	{".js", "text/javascript; charset=utf-8"},
	{".mjs", "text/javascript; charset=utf-8"},
	{".css", "text/css; charset=utf-8"},
	{".json", "application/json"},
	{".map", "application/json"},
	{".webmanifest", "application/manifest+json"},
	{".svg", "image/svg+xml"},
	{".png", "image/png"},
	{".jpg", "image/jpeg"},
	{".jpeg", "image/jpeg"},
	{".gif", "image/gif"},
	{".webp", "image/webp"},
	{".ico", "image/x-icon"},
	{".txt", "text/plain; charset=utf-8"},
	{".md", "text/plain; charset=utf-8"},
	{".wasm", "application/wasm"},
	{".woff2", "font/woff2"},
};

static const char *type_of(const char *path)
{
	const char *dot = strrchr(path, '.');
	for (size_t i = 0; dot && i < sizeof types / sizeof *types; i++) {
		if (strcasecmp(dot, types[i].suffix) == 0) {
			return types[i].type;
		}
	}
	return "application/octet-stream";
}

/* The real path of a regular file below folder. */
static bool find(const char *folder, const char *path, char real[PATH_MAX], struct stat *status)
{
	char wanted[PATH_MAX], root[PATH_MAX];
	if (strstr(path, "/.") || !realpath(folder, root)) {
		return false;
	}
	const char *index = path[strlen(path) - 1] == '/' ? "index.html" : "";
	int len = snprintf(wanted, sizeof wanted, "%s%s%s", root, path, index);
	if (len < 0 || (size_t)len >= sizeof wanted || !realpath(wanted, real)) {
		return false;
	}
	size_t root_len = strcmp(root, "/") == 0 ? 0 : strlen(root);
	return strncmp(real, root, root_len) == 0 && real[root_len] == '/' && stat(real, status) == 0 &&
	       S_ISREG(status->st_mode);
}

int files_serve(struct lws *wsi, const char *folder, const char *path)
{
	char real[PATH_MAX], headers[256 + CORS_MAX_BYTES], cors[CORS_MAX_BYTES], tag[64], known[128];
	struct stat status;
	if (!find(folder, path, real, &status)) {
		return http_error(wsi, 404, "unknown_path", "no such file", false);
	}
	snprintf(tag, sizeof tag, "\"%llx-%llx\"", (unsigned long long)status.st_size,
	         (unsigned long long)status.st_mtim.tv_sec * 1000000000ull + (unsigned long long)status.st_mtim.tv_nsec);
	int len = snprintf(headers, sizeof headers,
	                   "Cache-Control: no-cache\r\nETag: %s\r\nX-Content-Type-Options: nosniff\r\n", tag);
	if (transport_header(wsi, WSI_TOKEN_HTTP_IF_NONE_MATCH, known, sizeof known) > 0 && request_tag_known(known, tag)) {
		return http_answer(wsi, 304, NULL, headers, "", 0, false);
	}
	http_cors(wsi, cors);
	len += snprintf(headers + len, sizeof headers - (size_t)len, "%s", cors);
	metrics.http_answers[METRIC_STATUS_200]++;
	int code = lws_serve_http_file(wsi, real, type_of(real), headers, len);
	if (code < 0 || (code > 0 && transport_completed(wsi))) {
		return -1;
	}
	return 0;
}
