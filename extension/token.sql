-- token.sql: tokens signed with the database's own key (token.c).

CREATE FUNCTION livefeed.hmac_sha256(key bytea, message bytea) RETURNS bytea
	LANGUAGE c IMMUTABLE STRICT AS 'MODULE_PATHNAME', 'livefeed_hmac_sha256';

CREATE FUNCTION livefeed.random_key() RETURNS bytea
	LANGUAGE c AS 'MODULE_PATHNAME', 'livefeed_random_key';

CREATE FUNCTION livefeed.keys_changed() RETURNS void
	LANGUAGE c AS 'MODULE_PATHNAME', 'livefeed_keys_changed';

-- RFC 4648, 5, without padding, as in JWT.
CREATE FUNCTION livefeed.base64url(data bytea) RETURNS text
	LANGUAGE sql IMMUTABLE STRICT SET search_path = pg_catalog, pg_temp
	AS $$ SELECT translate(encode(data, 'base64'), E'+/=\n', '-_') $$;

-- Why these cannot be a token's units; null if they can: an array of units, or
-- an object that gives each the roles held there. (The parts must be of the kind
-- that bridges accept: a token that no bridge takes is no use to its user.)
CREATE FUNCTION livefeed.units_problem(units jsonb) RETURNS text
	LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp
	AS $$
DECLARE
	unit   jsonb;
	name   text;
	roles  jsonb;
BEGIN
	CASE jsonb_typeof(units)
		WHEN 'array' THEN
			FOR unit IN SELECT * FROM jsonb_array_elements(units) LOOP
				IF NOT (jsonb_typeof(unit) = 'string' AND unit <> '""'
						OR jsonb_typeof(unit) = 'number' AND unit::text ~ '^-?[0-9]{1,16}$'
							AND abs(unit::numeric) <= 9007199254740992) THEN
					RETURN format('%s is neither a non-empty string nor an integer', unit);
				END IF;
			END LOOP;
		WHEN 'object' THEN
			FOR name, roles IN SELECT * FROM jsonb_each(units) LOOP
				IF name = '' THEN
					RETURN 'the id of a unit is empty';
				END IF;
				IF jsonb_typeof(roles) <> 'array'
					OR EXISTS (SELECT FROM jsonb_array_elements(roles) r WHERE jsonb_typeof(r) <> 'string' OR r = '""') THEN
					RETURN format('the roles of unit "%s" are not an array of non-empty strings', name);
				END IF;
			END LOOP;
		ELSE
			RETURN 'they are neither an array nor an object';
	END CASE;
	RETURN NULL;
END
$$;

-- A token (JWT, HS256) for a user. units null leaves the claim out, so that the
-- authorizer is asked; claims are added as they are.
CREATE FUNCTION livefeed.issue_token(user_id text, units jsonb DEFAULT '[]', roles text[] DEFAULT '{}',
		ttl interval DEFAULT '15 min', claims jsonb DEFAULT '{}')
	RETURNS text
	LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
	AS $$
DECLARE
	reserved CONSTANT text[] := '{sub,units,roles,iat,nbf,exp}';
	now      CONSTANT timestamptz := date_trunc('second', clock_timestamp());
	problem  text;
	found    text;
	key      record;
	payload  jsonb;
	signed   text;
BEGIN
	IF user_id IS NULL OR user_id = '' THEN
		RAISE EXCEPTION 'the user of a token must not be empty' USING ERRCODE = 'invalid_parameter_value';
	END IF;
	problem := livefeed.units_problem(units);
	IF units IS NOT NULL AND problem IS NOT NULL THEN
		RAISE EXCEPTION 'these cannot be the units of a token' USING ERRCODE = 'invalid_parameter_value',
			DETAIL = problem, HINT = 'Units look like [7, "9"], or {"7": ["approver"]}.';
	END IF;
	IF EXISTS (SELECT FROM unnest(roles) r WHERE r IS NULL OR r = '') THEN
		RAISE EXCEPTION 'a role of a token must not be empty' USING ERRCODE = 'invalid_parameter_value';
	END IF;
	IF ttl IS NULL OR now + ttl <= now THEN
		RAISE EXCEPTION 'ttl must be positive' USING ERRCODE = 'invalid_parameter_value';
	END IF;
	IF jsonb_typeof(coalesce(claims, '{}')) <> 'object' THEN
		RAISE EXCEPTION 'claims must be a JSON object' USING ERRCODE = 'invalid_parameter_value';
	END IF;
	SELECT k INTO found FROM jsonb_object_keys(coalesce(claims, '{}')) k WHERE k = ANY (reserved) LIMIT 1;
	IF found IS NOT NULL THEN
		RAISE EXCEPTION 'claims must not have "%"', found USING ERRCODE = 'invalid_parameter_value',
			HINT = 'It is set from the other arguments of livefeed.issue_token().';
	END IF;

	payload := coalesce(claims, '{}') || jsonb_build_object('sub', user_id, 'roles', coalesce(roles, '{}'),
		'iat', extract(epoch FROM now)::bigint, 'exp', ceil(extract(epoch FROM now + ttl))::bigint);
	IF units IS NOT NULL THEN
		payload := payload || jsonb_build_object('units', units);
	END IF;
	SELECT k.kid, k.secret INTO STRICT key FROM livefeed.key k WHERE k.rotated_at IS NULL;
	signed := livefeed.base64url(convert_to(json_build_object('alg', 'HS256', 'typ', 'JWT', 'kid', key.kid)::text, 'UTF8'))
		|| '.' || livefeed.base64url(convert_to(payload::text, 'UTF8'));
	RETURN signed || '.' || livefeed.base64url(livefeed.hmac_sha256(key.secret, convert_to(signed, 'UTF8')));
END
$$;
COMMENT ON FUNCTION livefeed.issue_token(text, jsonb, text[], interval, jsonb) IS
	'a token for a user, signed with the database''s own key';

-- A new key. Tokens signed with the former one stay valid for an hour.
CREATE FUNCTION livefeed.rotate_key() RETURNS void
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
	AS $$
BEGIN
	LOCK TABLE livefeed.key IN SHARE ROW EXCLUSIVE MODE;
	DELETE FROM livefeed.key WHERE rotated_at < clock_timestamp() - interval '1 hour';
	UPDATE livefeed.key SET rotated_at = clock_timestamp() WHERE rotated_at IS NULL;
	INSERT INTO livefeed.key (kid, secret)
		VALUES (left(encode(livefeed.random_key(), 'hex'), 16), livefeed.random_key());
	PERFORM livefeed.keys_changed();
END
$$;
COMMENT ON FUNCTION livefeed.rotate_key() IS 'a new key for tokens; the former one stays valid for an hour';

INSERT INTO livefeed.key (kid, secret)
	VALUES (pg_catalog.left(pg_catalog.encode(livefeed.random_key(), 'hex'), 16), livefeed.random_key());

-- For bridges: by which keys tokens are valid now.
CREATE VIEW livefeed.keys AS
	SELECT k.kid, k.secret, true AS valid, k.rotated_at + interval '1 hour' AS valid_until
	FROM livefeed.key k
	WHERE k.rotated_at IS NULL OR k.rotated_at > pg_catalog.clock_timestamp() - interval '1 hour';

COMMENT ON VIEW livefeed.keys IS 'by which keys tokens are valid now, for bridges';
