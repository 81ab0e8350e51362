/*
 * message_tree.c - see message_tree.h.
 */
#include "message_tree.h"

#include <limits.h>
#include <string.h>

#include "jsontext.h"

json_object *message_tree(const char *text, size_t len)
{
	json_tokener *tokener;
	json_object *tree;

	if (len > INT_MAX)
		return NULL;
	tokener = json_tokener_new_ex(JSON_DEPTH_MAX + 2); /* json_check is the stricter of the two */
	if (tokener == NULL)
		return NULL;
	json_tokener_set_flags(tokener, JSON_TOKENER_VALIDATE_UTF8);
	tree = json_tokener_parse_ex(tokener, text, (int)len);
	if (json_tokener_get_error(tokener) != json_tokener_success || !json_object_is_type(tree, json_type_object)) {
		json_object_put(tree);
		tree = NULL;
	}
	json_tokener_free(tokener);
	return tree;
}

json_object *message_checked_tree(const char *text, size_t len)
{
	struct json_fault fault;

	return json_check(text, len, NULL, 0, &fault) ? message_tree(text, len) : NULL;
}

char *message_copy_string(json_object *value)
{
	if (!json_object_is_type(value, json_type_string))
		return NULL;
	return strndup(json_object_get_string(value), (size_t)json_object_get_string_len(value));
}
