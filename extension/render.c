/*-------------------------------------------------------------------------
 *
 * render.c
 *	  Values as JSON, the same in every session.
 *
 * What a browser gets must not depend on the settings of the session that
 * happened to write the row. Common types are written here directly: numbers,
 * text, dates and times in ISO 8601 (with zone: UTC with Z), uuid, bytea in
 * base64, json and jsonb, arrays as arrays, composites as objects, domains as
 * their base type. All other types are the text of their output function, run
 * with DateStyle, IntervalStyle, TimeZone, extra_float_digits and bytea_output
 * pinned. The variables behind those settings are swapped for the call: SET and
 * its stack would cost more than the rest of the event.
 *
 * JSON numbers are read as doubles by browsers: integers beyond 2^53-1 go as
 * strings, and so do NaN and infinities. A numeric is the application's choice
 * of exactness and keeps its digits.
 *
 * Sizes are bounded. Before a value is detoasted its raw size is looked at,
 * which the toast pointer tells; while it is rendered the buffer's length is.
 * So a row of 100 MB costs its writer no more than a small one, nor does a
 * jsonb of few bytes that would be a gigabyte of digits.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "access/detoast.h"
#include "access/htup_details.h"
#include "access/tupmacs.h"
#include "catalog/pg_type.h"
#include "common/base64.h"
#include "common/shortest_dec.h"
#include "miscadmin.h"
#include "pgtime.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/bytea.h"
#include "utils/date.h"
#include "utils/datetime.h"
#include "utils/float.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/numeric.h"
#include "utils/syscache.h"
#include "utils/typcache.h"
#include "utils/uuid.h"

#include "clock.h"
#include "compat.h"
#include "render.h"
#include "text.h"

/* The largest integer up to which a double holds every integer. */
#define MAX_SAFE_INTEGER INT64CONST(9007199254740991)

/*
 * No value's JSON is smaller than its raw size by more than this factor (the
 * worst are arrays and jsonb of tiny values), so one larger than the factor
 * times the limit need not be detoasted to know that it is too large.
 */
#define RAW_TO_JSON_FACTOR 16

/* Room for the text of any type of fixed size that is written here. */
#define SMALL_TEXT_BYTES 64

/* How a value's text stands in JSON. */
typedef enum TextForm
{
	FORM_BARE,					/* as it is: true, 12.5 */
	FORM_PLAIN,					/* between quotes, nothing to escape */
	FORM_TEXT					/* between quotes, to be converted and escaped */
} TextForm;

static HTAB *types = NULL;

/* ---------- types ---------- */

static void
types_invalidate(Datum arg, int cache, uint32 hash)
{
	HASH_SEQ_STATUS status;
	RenderType *type;

	if (types == NULL)
		return;
	hash_seq_init(&status, types);
	while ((type = hash_seq_search(&status)) != NULL)
		type->valid = false;
}

static RenderKind
kind_of(Oid base, Oid *element)
{
	*element = InvalidOid;
	switch (base)
	{
		case BOOLOID:
			return RENDER_BOOL;
		case INT2OID:
			return RENDER_INT2;
		case INT4OID:
			return RENDER_INT4;
		case INT8OID:
			return RENDER_INT8;
		case FLOAT4OID:
			return RENDER_FLOAT4;
		case FLOAT8OID:
			return RENDER_FLOAT8;
		case NUMERICOID:
			return RENDER_NUMERIC;
		case TEXTOID:
		case VARCHAROID:
		case BPCHAROID:
			return RENDER_TEXT;
		case BYTEAOID:
			return RENDER_BYTEA;
		case DATEOID:
			return RENDER_DATE;
		case TIMESTAMPOID:
			return RENDER_TIMESTAMP;
		case TIMESTAMPTZOID:
			return RENDER_TIMESTAMPTZ;
		case UUIDOID:
			return RENDER_UUID;
		case JSONOID:
			return RENDER_JSON;
		case JSONBOID:
			return RENDER_JSONB;
		default:
			break;
	}
	*element = get_element_type(base);
	if (OidIsValid(*element))
		return RENDER_ARRAY;
	return type_is_rowtype(base) ? RENDER_COMPOSITE : RENDER_OUTPUT;
}

static void
fill_type(RenderType *type)
{
	Oid			base = getBaseType(type->type);
	Oid			element;
	Oid			output;
	bool		is_varlena;

	type->kind = kind_of(base, &element);
	get_typlenbyvalalign(base, &type->length, &type->by_value, &type->align);
	getTypeOutputInfo(base, &output, &is_varlena);
	/* It may have kept something, of a range's or an array's elements: each new type in the database has us ask anew. */
	if (type->memory == NULL)
		type->memory = AllocSetContextCreate(TopMemoryContext, "livefeed type", ALLOCSET_SMALL_SIZES);
	else
		MemoryContextReset(type->memory);
	fmgr_info_cxt(output, &type->output, type->memory);
	type->element = OidIsValid(element) ? render_type(element) : NULL;
	type->valid = true;
}

RenderType *
render_type(Oid oid)
{
	RenderType *type;
	bool		found;

	if (types == NULL)
	{
		HASHCTL		control = {0};

		control.keysize = sizeof(Oid);
		control.entrysize = sizeof(RenderType);
		types = hash_create("livefeed types", 64, &control, HASH_ELEM | HASH_BLOBS);
	}
	type = hash_search(types, &oid, HASH_ENTER, &found);
	if (!found)
	{
		type->valid = false;
		type->memory = NULL;
	}
	if (!type->valid)
		fill_type(type);
	return type;
}

/* ---------- scalars ---------- */

/* Runs a type's output function as if every session had the same settings. */
static char *
pinned_output(RenderType *type, Datum value)
{
	static pg_tz *utc = NULL;
	int			date_style = DateStyle;
	int			date_order = DateOrder;
	int			interval_style = IntervalStyle;
	int			float_digits = extra_float_digits;
	int			bytea_format = bytea_output;
	pg_tz	   *zone = session_timezone;
	char	   *volatile result = NULL;

	if (utc == NULL)
		utc = pg_tzset("UTC");

	PG_TRY();
	{
		DateStyle = USE_ISO_DATES;
		DateOrder = DATEORDER_YMD;
		IntervalStyle = INTSTYLE_POSTGRES;
		extra_float_digits = 1;
		bytea_output = BYTEA_OUTPUT_HEX;
		session_timezone = utc;
		result = OutputFunctionCall(&type->output, value);
	}
	PG_FINALLY();
	{
		DateStyle = date_style;
		DateOrder = date_order;
		IntervalStyle = interval_style;
		extra_float_digits = float_digits;
		bytea_output = bytea_format;
		session_timezone = zone;
	}
	PG_END_TRY();
	return result;
}

static TextForm
numeric_text(RenderType *type, Datum value, const char **str, int *len)
{
	const char *digits = OutputFunctionCall(&type->output, value);

	*str = digits;
	*len = strlen(digits);
	/* NaN, Infinity, -Infinity */
	return isdigit((unsigned char) digits[*len - 1]) ? FORM_BARE : FORM_PLAIN;
}

static TextForm
float_text(float8 number, int len, char *small, const char **str, int *small_len)
{
	if (isnan(number) || isinf(number))
	{
		*str = isnan(number) ? "NaN" : number > 0 ? "Infinity" : "-Infinity";
		*small_len = strlen(*str);
		return FORM_PLAIN;
	}
	*small_len = len;
	return FORM_BARE;
}

static int
uuid_text(char *out, const pg_uuid_t *uuid)
{
	static const char digits[] = "0123456789abcdef";
	char	   *start = out;

	for (int i = 0; i < UUID_LEN; i++)
	{
		if (i == 4 || i == 6 || i == 8 || i == 10)
			*out++ = '-';
		*out++ = digits[uuid->data[i] >> 4];
		*out++ = digits[uuid->data[i] & 15];
	}
	return out - start;
}

/*
 * The text of a value that has one, in small[] where it fits; the types with a
 * JSON structure of their own give their output function's.
 */
static TextForm
scalar_text(RenderType *type, Datum value, char *small, const char **str, int *len)
{
	int64		number;
	struct varlena *packed;

	*str = small;
	switch (type->kind)
	{
		case RENDER_BOOL:
			*str = DatumGetBool(value) ? "true" : "false";
			*len = DatumGetBool(value) ? 4 : 5;
			return FORM_BARE;

		case RENDER_INT2:
			*len = compat_ltoa(DatumGetInt16(value), small);
			return FORM_BARE;

		case RENDER_INT4:
			*len = compat_ltoa(DatumGetInt32(value), small);
			return FORM_BARE;

		case RENDER_INT8:
			number = DatumGetInt64(value);
			*len = compat_lltoa(number, small);
			return number > MAX_SAFE_INTEGER || number < -MAX_SAFE_INTEGER ? FORM_PLAIN : FORM_BARE;

		case RENDER_FLOAT4:
			return float_text(DatumGetFloat4(value), float_to_shortest_decimal_buf(DatumGetFloat4(value), small),
							  small, str, len);

		case RENDER_FLOAT8:
			return float_text(DatumGetFloat8(value), double_to_shortest_decimal_buf(DatumGetFloat8(value), small),
							  small, str, len);

		case RENDER_NUMERIC:
			return numeric_text(type, value, str, len);

		case RENDER_TEXT:
			packed = pg_detoast_datum_packed((struct varlena *) DatumGetPointer(value));
			*str = VARDATA_ANY(packed);
			*len = VARSIZE_ANY_EXHDR(packed);
			return FORM_TEXT;

		case RENDER_DATE:
			*len = clock_date(small, DatumGetDateADT(value));
			return FORM_PLAIN;

		case RENDER_TIMESTAMP:
			*len = clock_timestamp_text(small, DatumGetTimestamp(value), false);
			return FORM_PLAIN;

		case RENDER_TIMESTAMPTZ:
			*len = clock_timestamp_text(small, DatumGetTimestampTz(value), true);
			return FORM_PLAIN;

		case RENDER_UUID:
			*len = uuid_text(small, DatumGetUUIDP(value));
			return FORM_PLAIN;

		case RENDER_BYTEA:
		case RENDER_JSON:
		case RENDER_JSONB:
		case RENDER_ARRAY:
		case RENDER_COMPOSITE:
		case RENDER_OUTPUT:
			break;
	}
	*str = pinned_output(type, value);
	*len = strlen(*str);
	return FORM_TEXT;
}

char *
render_text(RenderType *type, Datum value)
{
	char		small[SMALL_TEXT_BYTES];
	const char *str;
	int			len;

	if (!type->valid)
		fill_type(type);
	(void) scalar_text(type, value, small, &str, &len);
	return pnstrdup(str, len);
}

static void
render_scalar(Renderer *renderer, RenderType *type, Datum value)
{
	StringInfo	buf = renderer->buf;
	char		small[SMALL_TEXT_BYTES];
	const char *str;
	int			len;

	switch (scalar_text(type, value, small, &str, &len))
	{
		case FORM_BARE:
			appendBinaryStringInfo(buf, str, len);
			break;
		case FORM_PLAIN:
			appendStringInfoCharMacro(buf, '"');
			appendBinaryStringInfo(buf, str, len);
			appendStringInfoCharMacro(buf, '"');
			break;
		case FORM_TEXT:
			if (len > renderer->end - buf->len)
				renderer->too_large = true;
			else
				text_append_json(buf, str, len);
			break;
	}
}

static void
render_bytea(StringInfo buf, Datum value)
{
	bytea	   *bytes = DatumGetByteaPP(value);
	int			len = VARSIZE_ANY_EXHDR(bytes);
	int			room = pg_b64_enc_len(len);
	int			written;

	appendStringInfoCharMacro(buf, '"');
	enlargeStringInfo(buf, room + 2);
	written = compat_b64_encode(VARDATA_ANY(bytes), len, buf->data + buf->len, room);
	Assert(written >= 0);
	buf->len += written;
	appendStringInfoCharMacro(buf, '"');
}

/* ---------- structures ---------- */

static bool
is_too_large(Renderer *renderer)
{
	if (unlikely(renderer->buf->len > renderer->end))
		renderer->too_large = true;
	return renderer->too_large;
}

/* One scalar of a jsonb document; its texts are not NUL-terminated. */
static void
render_jsonb_scalar(StringInfo buf, const JsonbValue *value)
{
	const char *digits;

	switch (value->type)
	{
		case jbvNull:
			appendBinaryStringInfo(buf, "null", 4);
			break;
		case jbvBool:
			appendStringInfoString(buf, value->val.boolean ? "true" : "false");
			break;
		case jbvString:
			text_append_json(buf, value->val.string.val, value->val.string.len);
			break;
		case jbvNumeric:
			digits = DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(value->val.numeric)));
			appendStringInfoString(buf, digits);
			break;
		default:
			elog(ERROR, "unexpected jsonb value type %d", (int) value->type);
	}
}

static void
render_jsonb(Renderer *renderer, Datum datum)
{
	StringInfo	buf = renderer->buf;
	Jsonb	   *jsonb = DatumGetJsonbP(datum);
	JsonbIterator *iterator = JsonbIteratorInit(&jsonb->root);
	JsonbIteratorToken token;
	JsonbValue	value;
	bool		bare = false;	/* a lone scalar is kept as an array of one */
	bool		comma = false;

	while ((token = JsonbIteratorNext(&iterator, &value, false)) != WJB_DONE && !is_too_large(renderer))
	{
		if (comma && (token == WJB_BEGIN_ARRAY || token == WJB_BEGIN_OBJECT || token == WJB_KEY || token == WJB_ELEM))
			appendStringInfoCharMacro(buf, ',');
		comma = true;
		switch (token)
		{
			case WJB_BEGIN_ARRAY:
				bare = value.val.array.rawScalar;
				if (!bare)
					appendStringInfoCharMacro(buf, '[');
				comma = false;
				break;
			case WJB_BEGIN_OBJECT:
				appendStringInfoCharMacro(buf, '{');
				comma = false;
				break;
			case WJB_KEY:
				render_jsonb_scalar(buf, &value);
				appendStringInfoCharMacro(buf, ':');
				comma = false;
				break;
			case WJB_VALUE:
			case WJB_ELEM:
				render_jsonb_scalar(buf, &value);
				break;
			case WJB_END_ARRAY:
				if (!bare)
					appendStringInfoCharMacro(buf, ']');
				break;
			case WJB_END_OBJECT:
				appendStringInfoCharMacro(buf, '}');
				break;
			default:
				elog(ERROR, "unexpected jsonb token %d", (int) token);
		}
	}
}

/* Where the rendering of an array has got to. */
typedef struct ArrayPosition
{
	const int  *dims;
	int			ndim;
	RenderType *element;
	char	   *at;
	bits8	   *nulls;			/* NULL: none */
	int			index;
} ArrayPosition;

static void
render_array_dimension(Renderer *renderer, ArrayPosition *position, int dimension)
{
	RenderType *element = position->element;

	check_stack_depth();
	appendStringInfoCharMacro(renderer->buf, '[');
	for (int i = 0; i < position->dims[dimension] && !is_too_large(renderer); i++)
	{
		if (i > 0)
			appendStringInfoCharMacro(renderer->buf, ',');
		if (dimension + 1 < position->ndim)
			render_array_dimension(renderer, position, dimension + 1);
		else if (position->nulls != NULL &&
				 (position->nulls[position->index / 8] & (1 << (position->index % 8))) == 0)
		{
			position->index++;
			appendBinaryStringInfo(renderer->buf, "null", 4);
		}
		else
		{
			position->index++;
			render_value(renderer, element, fetch_att(position->at, element->by_value, element->length));
			position->at = att_addlength_pointer(position->at, element->length, position->at);
			position->at = (char *) att_align_nominal(position->at, element->align);
		}
	}
	appendStringInfoCharMacro(renderer->buf, ']');
}

static void
render_array(Renderer *renderer, RenderType *type, Datum value)
{
	ArrayType  *array = DatumGetArrayTypeP(value);
	ArrayPosition position;

	if (ARR_NDIM(array) == 0)
	{
		appendBinaryStringInfo(renderer->buf, "[]", 2);
		return;
	}
	position.dims = ARR_DIMS(array);
	position.ndim = ARR_NDIM(array);
	position.element = type->element;
	position.at = ARR_DATA_PTR(array);
	position.nulls = ARR_NULLBITMAP(array);
	position.index = 0;
	render_array_dimension(renderer, &position, 0);
}

static void
render_composite(Renderer *renderer, Datum value)
{
	HeapTupleHeader header = DatumGetHeapTupleHeader(value);
	TupleDesc	desc = lookup_rowtype_tupdesc_copy(HeapTupleHeaderGetTypeId(header),
												   HeapTupleHeaderGetTypMod(header));
	Datum	   *values = palloc(desc->natts * sizeof(Datum));
	bool	   *nulls = palloc(desc->natts * sizeof(bool));
	HeapTupleData tuple;
	bool		comma = false;

	check_stack_depth();
	tuple.t_len = HeapTupleHeaderGetDatumLength(header);
	ItemPointerSetInvalid(&tuple.t_self);
	tuple.t_tableOid = InvalidOid;
	tuple.t_data = header;
	heap_deform_tuple(&tuple, desc, values, nulls);

	appendStringInfoCharMacro(renderer->buf, '{');
	for (int i = 0; i < desc->natts && !is_too_large(renderer); i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(desc, i);
		const char *name = NameStr(attribute->attname);

		if (attribute->attisdropped)
			continue;
		if (comma)
			appendStringInfoCharMacro(renderer->buf, ',');
		comma = true;
		text_append_json(renderer->buf, name, strlen(name));
		appendStringInfoCharMacro(renderer->buf, ':');
		if (nulls[i])
			appendBinaryStringInfo(renderer->buf, "null", 4);
		else
			render_value(renderer, render_type(attribute->atttypid), values[i]);
	}
	appendStringInfoCharMacro(renderer->buf, '}');
}

/* True if even the least JSON of the value is over the limit. */
static bool
is_hopeless(const Renderer *renderer, const RenderType *type, Datum value)
{
	Size		room = Max(renderer->end - renderer->buf->len, 0);
	Size		raw;

	if (type->length != -1)
		return false;
	raw = toast_raw_datum_size(value) - VARHDRSZ;
	if (type->kind != RENDER_TEXT && type->kind != RENDER_BYTEA)
		raw /= RAW_TO_JSON_FACTOR;
	return raw > room;
}

void
render_value(Renderer *renderer, RenderType *type, Datum value)
{
	if (unlikely(!type->valid))
		fill_type(type);
	if (renderer->too_large || is_hopeless(renderer, type, value))
	{
		renderer->too_large = true;
		return;
	}

	switch (type->kind)
	{
		case RENDER_BYTEA:
			render_bytea(renderer->buf, value);
			break;
		case RENDER_JSON:
			{
				text	   *json = DatumGetTextPP(value);

				text_append_compact_json(renderer->buf, VARDATA_ANY(json), VARSIZE_ANY_EXHDR(json));
				break;
			}
		case RENDER_JSONB:
			render_jsonb(renderer, value);
			break;
		case RENDER_ARRAY:
			render_array(renderer, type, value);
			break;
		case RENDER_COMPOSITE:
			render_composite(renderer, value);
			break;
		default:
			render_scalar(renderer, type, value);
			break;
	}
	(void) is_too_large(renderer);
}

void
render_init(void)
{
	CacheRegisterSyscacheCallback(TYPEOID, types_invalidate, (Datum) 0);
}
