-- Tokens: what livefeed.issue_token() puts into them, what it refuses, and the keys.
\set SHOW_CONTEXT never
SET client_min_messages = warning;
DROP EXTENSION livefeed CASCADE;
CREATE EXTENSION livefeed;
RESET client_min_messages;
CREATE FUNCTION part(token text, n integer) RETURNS jsonb LANGUAGE sql AS $$
	SELECT convert_from(decode(rpad(translate(split_part(token, '.', n), '-_', '+/'),
		(length(split_part(token, '.', n)) + 3) / 4 * 4, '='), 'base64'), 'UTF8')::jsonb
$$;
CREATE FUNCTION is_signed(token text) RETURNS text LANGUAGE sql AS $$
	SELECT k.kid FROM livefeed.keys k
	WHERE k.kid = part(token, 1) ->> 'kid'
		AND livefeed.base64url(livefeed.hmac_sha256(k.secret, convert_to(regexp_replace(token, '\.[^.]*$', ''), 'UTF8'))) = split_part(token, '.', 3)
$$;

-- RFC 4231, cases 1 and 2.
SELECT livefeed.hmac_sha256(decode(repeat('0b', 20), 'hex'), 'Hi There');
SELECT livefeed.hmac_sha256('Jefe', 'what do ya want for nothing?');
SELECT livefeed.hmac_sha256(repeat('x', 65)::bytea, '');
SELECT livefeed.base64url(decode('fffefdfbff', 'hex')), livefeed.base64url(''), length(livefeed.base64url(decode(repeat('00', 200), 'hex')));

SELECT livefeed.issue_token('42', '[7, "9"]', '{approver}') AS token \gset
SELECT part(:'token', 1) - 'kid' AS header, part(:'token', 2) - 'iat' - 'exp' AS payload, is_signed(:'token') IS NOT NULL AS signed;
SELECT :'token' ~ '^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]{43}$' AS form;
SELECT part(t, 2) -> 'exp' AS exp, jsonb_typeof(part(t, 2) -> 'iat') AS iat,
		(part(t, 2) ->> 'exp')::bigint - (part(t, 2) ->> 'iat')::bigint AS ttl
	FROM livefeed.issue_token('42') t \gset
SELECT :'iat' AS iat, :ttl AS ttl, abs(:exp - 900 - extract(epoch FROM now())) < 60 AS exp;
SELECT part(livefeed.issue_token('42'), 2) - 'iat' - 'exp' AS payload;
SELECT part(livefeed.issue_token('42', NULL), 2) - 'iat' - 'exp' AS payload;
SELECT part(livefeed.issue_token('zoë "z"', '{"7":["approver"],"x:y":[]}', claims => '{"sid":"s1","name":{"a":[1]}}'), 2) - 'iat' - 'exp' AS payload;
SELECT (part(t, 2) ->> 'exp')::bigint - (part(t, 2) ->> 'iat')::bigint AS ttl FROM livefeed.issue_token('42', ttl => '0.5 s') t;

-- Refused: what no bridge would take.
SELECT livefeed.issue_token('');
SELECT livefeed.issue_token(NULL);
\set VERBOSITY terse
SELECT livefeed.issue_token('42', ttl => '0');
SELECT livefeed.issue_token('42', ttl => '-1 s');
SELECT livefeed.issue_token('42', ttl => NULL);
SELECT livefeed.issue_token('42', roles => '{a,""}');
SELECT livefeed.issue_token('42', roles => '{a,NULL}');
SELECT livefeed.issue_token('42', claims => '[]');
SELECT livefeed.issue_token('42', claims => '{"sub":"43"}');
SELECT livefeed.issue_token('42', claims => '{"exp":1}');
\set VERBOSITY default
SELECT livefeed.issue_token('42', '7');
SELECT u, livefeed.units_problem(u::jsonb)
	FROM unnest(ARRAY['[]', '{}', '[7,"9",-1]', '{"7":[]}', '"7"', 'null', 'true', '[null]', '[7.5]', '[1e3]', '[9007199254740993]', '[""]', '[[7]]',
		'{"":[]}', '{"7":"approver"}', '{"7":[1]}', '{"7":[""]}', '{"7":null}']) u;

-- Keys: one that signs, and the former ones for an hour.
SELECT count(*) AS keys, min(octet_length(secret)) AS bytes FROM livefeed.keys;
SELECT livefeed.tick() IS NULL AS nothing;
SELECT livefeed.rotate_key();
SELECT livefeed.tick() > 0 AS ticked;
SELECT flags & 32 AS control, feed FROM livefeed.read(0, 10) WHERE flags & 512 = 0;
SELECT count(*) AS keys, count(DISTINCT secret) AS secrets, count(valid_until) AS until, bool_and(valid) AS valid FROM livefeed.keys;
SELECT is_signed(:'token') IS NOT NULL AS still;
SELECT is_signed(t) IS NOT NULL AS signed, is_signed(t) <> part(:'token', 1) ->> 'kid' AS by_the_new_one FROM livefeed.issue_token('42') t;
UPDATE livefeed.key SET rotated_at = rotated_at - interval '1 hour';
SELECT is_signed(:'token') IS NULL AS no_more;
SELECT livefeed.rotate_key();
SELECT count(*) FROM livefeed.key;

DROP FUNCTION part, is_signed;
