/*
 * websocket.h, http.c and listen.c share this: the libwebsockets context, its listeners, and the WebSocket transport.
 */
#ifndef LIVEFEED_WEBSOCKET_H
#define LIVEFEED_WEBSOCKET_H

/* The owner of websocket.c, http.c, listen.c and main.c fills this in. */

#endif
