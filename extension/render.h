/*-------------------------------------------------------------------------
 *
 * render.h
 *	  Values as JSON, the same in every session.
 *
 *-------------------------------------------------------------------------
 */
#ifndef LIVEFEED_RENDER_H
#define LIVEFEED_RENDER_H

#include "postgres.h"

#include "fmgr.h"
#include "lib/stringinfo.h"

typedef enum RenderKind
{
	RENDER_BOOL,
	RENDER_INT2,
	RENDER_INT4,
	RENDER_INT8,
	RENDER_FLOAT4,
	RENDER_FLOAT8,
	RENDER_NUMERIC,
	RENDER_TEXT,				/* text, varchar, char(n) */
	RENDER_BYTEA,
	RENDER_DATE,
	RENDER_TIMESTAMP,
	RENDER_TIMESTAMPTZ,
	RENDER_UUID,
	RENDER_JSON,
	RENDER_JSONB,
	RENDER_ARRAY,
	RENDER_COMPOSITE,
	RENDER_OUTPUT				/* all else: the text of its output function */
} RenderKind;

/*
 * How values of a type are rendered. Made once per backend and type, never
 * freed; refilled in place when types have changed.
 */
typedef struct RenderType
{
	Oid			type;			/* hash key */
	bool		valid;
	RenderKind	kind;
	int16		length;
	bool		by_value;
	char		align;
	struct RenderType *element; /* of RENDER_ARRAY */
	FmgrInfo	output;
	MemoryContext memory;		/* of what the output function keeps */
} RenderType;

/* Where JSON is written, and how much of it there may be. */
typedef struct Renderer
{
	StringInfo	buf;
	int			start;			/* where the data begins */
	int			end;			/* buf->len beyond this: too large */
	bool		too_large;		/* then what stands in buf is cut off anywhere */
} Renderer;

extern RenderType *render_type(Oid type);

/* Appends the value as JSON; looks at sizes before it detoasts anything. */
extern void render_value(Renderer *renderer, RenderType *type, Datum value);

/* The canonical text of a value (of a key, a unit, a user), in the database's encoding. */
extern char *render_text(RenderType *type, Datum value);

extern void render_init(void);

#endif							/* LIVEFEED_RENDER_H */
