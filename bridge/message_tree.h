/*
 * message_tree.h - a JSON object as json-c's tree, for message.c and message_token.c alone: the rooms that know json-c.
 * It sees nothing that json_check (jsontext.c) has not passed; what is looked up in a tree is therefore unambiguous, free of
 * NUL, and valid UTF-8. Whoever gets a tree gives it up with json_object_put.
 */
#ifndef LIVEFEED_MESSAGE_TREE_H
#define LIVEFEED_MESSAGE_TREE_H

#include <stddef.h>

#include <json-c/json.h>

/* The tree of one JSON object, or NULL. text has to have passed json_check. */
json_object *message_tree(const char *text, size_t len);
/* The same of a text that may be anything. */
json_object *message_checked_tree(const char *text, size_t len);
/* A copy of a string value, which is the caller's; NULL: it is none, or out of memory. */
char *message_copy_string(json_object *value);

#endif
