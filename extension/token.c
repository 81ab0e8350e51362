/*-------------------------------------------------------------------------
 *
 * token.c
 *	  What livefeed.issue_token() and rotate_key() need of C: HMAC-SHA256,
 *	  random bytes for the key, and the word to the bridges that it changed.
 *	  The token is put together in token.sql.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/builtins.h"

#include "compat.h"
#include "journal.h"

#define SHA256_BLOCK_BYTES 64

/* Of a key; as much as HMAC-SHA256 can make use of. */
#define TOKEN_KEY_BYTES 32

PG_FUNCTION_INFO_V1(livefeed_hmac_sha256);
PG_FUNCTION_INFO_V1(livefeed_random_key);
PG_FUNCTION_INFO_V1(livefeed_keys_changed);

/* SHA-256 of a block and a message, by the server's own function. */
static bytea *
token_sha256(const unsigned char *block, const char *message, int len)
{
	bytea	   *source = palloc(VARHDRSZ + SHA256_BLOCK_BYTES + len);

	SET_VARSIZE(source, VARHDRSZ + SHA256_BLOCK_BYTES + len);
	memcpy(VARDATA(source), block, SHA256_BLOCK_BYTES);
	memcpy(VARDATA(source) + SHA256_BLOCK_BYTES, message, len);
	return DatumGetByteaPP(DirectFunctionCall1(sha256_bytea, PointerGetDatum(source)));
}

/* livefeed.hmac_sha256(key bytea, message bytea), RFC 2104 */
Datum
livefeed_hmac_sha256(PG_FUNCTION_ARGS)
{
	bytea	   *key = PG_GETARG_BYTEA_PP(0);
	bytea	   *message = PG_GETARG_BYTEA_PP(1);
	int			key_len = VARSIZE_ANY_EXHDR(key);
	unsigned char inner[SHA256_BLOCK_BYTES];
	unsigned char outer[SHA256_BLOCK_BYTES];
	bytea	   *digest;

	if (key_len > SHA256_BLOCK_BYTES)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a key must not be longer than %d bytes", SHA256_BLOCK_BYTES)));
	memset(inner, 0x36, sizeof(inner));
	memset(outer, 0x5c, sizeof(outer));
	for (int i = 0; i < key_len; i++)
	{
		inner[i] ^= ((unsigned char *) VARDATA_ANY(key))[i];
		outer[i] ^= ((unsigned char *) VARDATA_ANY(key))[i];
	}
	digest = token_sha256(inner, VARDATA_ANY(message), VARSIZE_ANY_EXHDR(message));
	digest = token_sha256(outer, VARDATA_ANY(digest), VARSIZE_ANY_EXHDR(digest));
	PG_RETURN_BYTEA_P(digest);
}

/* livefeed.random_key() */
Datum
livefeed_random_key(PG_FUNCTION_ARGS)
{
	bytea	   *key = palloc(VARHDRSZ + TOKEN_KEY_BYTES);

	SET_VARSIZE(key, VARHDRSZ + TOKEN_KEY_BYTES);
	if (!pg_strong_random(VARDATA(key), TOKEN_KEY_BYTES))
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("no random bytes are to be had for a key")));
	PG_RETURN_BYTEA_P(key);
}

/* livefeed.keys_changed(): bridges read livefeed.keys anew, at this place of the order */
Datum
livefeed_keys_changed(PG_FUNCTION_ARGS)
{
	journal_control("keys");
	PG_RETURN_VOID();
}
