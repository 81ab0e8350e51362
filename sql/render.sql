-- How values are rendered: the same whatever the session's settings are.
-- Not here: sizes (limits.sql), other encodings (encoding.sql).
CREATE SCHEMA render;
SET search_path = render;
\pset format unaligned
\pset tuples_only on

CREATE TYPE mood AS ENUM ('sad "x"', 'ok');
CREATE DOMAIN posint AS int CHECK (value > 0);
CREATE DOMAIN labels AS text[];
CREATE TYPE pair AS (a int, "b ""q" text, c timestamptz);
CREATE TABLE v (id int PRIMARY KEY,
	b bool, i2 int2, i8 int8, i8b int8, f4 float4, f8 float8, n numeric, nn numeric,
	t text, c char(5), vc varchar(9), nm name, ch "char", by bytea,
	d date, ts timestamp, tz timestamptz, ti time, tt timetz, iv interval,
	u uuid, j json, jb jsonb, ia int[], ta text[], aa int[],
	r int4range, tr tstzrange, m mood, po posint, la labels, p pair, pa pair[],
	o oid, ine inet, x xml, bi bit(3), pt point, tsv tsvector, ov int2vector, "we""ird	col\" int);
SELECT livefeed.watch('v');

SET datestyle = 'SQL, DMY';
SET timezone = 'Asia/Tokyo';
SET intervalstyle = 'iso_8601';
SET bytea_output = 'escape';
SET extra_float_digits = -3;
INSERT INTO v VALUES (1,
	true, -32768, 9007199254740991, 9007199254740992, 1.1, 1e300, '123456789012345678901234567890.1230', 'NaN',
	E'a"b\\c\n\x7f\t\u00e9\U0001F600\u2028', 'ab', 'xyz', 'nam', 'c', '\x00ff10',
	'2020-02-29', '2020-01-02 03:04:05.120', '2020-01-02 03:04:05.123456+09', '03:04:05.5', '03:04:05+05:30', '1 year 2 days 03:04:05.6',
	'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11', E'{ "a" : [1,\n2 , "x \\" y\\\\" ],\t"b":{} , "c c":"  "}',
	'{"z":1.50,"a":[[],{},"",null,true,1e5,"\u0001\""]}', '{1,null,3}', '{"a,b","\"q\"",NULL}', '{{1,2},{3,4}}',
	'[1,5)', '["2020-01-02 03:04:05+00",infinity)', 'sad "x"', 5, '{x,y}', row(1, 'z"', '2020-01-01 00:00:00+00'::timestamptz),
	array[row(1, null, null)::pair, null],
	123, '10.0.0.1/8', '<a>b</a>', '101', '(1,2.5)', 'a b', '1 2 3', 7);
INSERT INTO v (id, f4, f8, n, d, ts, tz, i8, ia, jb, j, by) VALUES
	(2, 'NaN', '-Infinity', -0.5, 'infinity', '-infinity', 'infinity', -9007199254740992, '{}', '"s"', 'null', '');
INSERT INTO v (id, f8, f4, d, ts, tz, ia, jb, tsv) VALUES
	(3, '-0', '1e-7', '15-03-0044 BC', '01-01-12345 00:00', '01-01-0001 00:00:00+00 BC', '[5:6]={1,2}', '[]', '');
RESET ALL;
SET search_path = render;

-- As it stands in the frame; json keeps what it is given, so the text is seen, not a reading of it.
SELECT l.key, e.key, e.value FROM livefeed.log l, json_each(convert_from(l.frame, 'UTF8')::json -> 'data') e
WHERE l.feed = 'v' AND e.value::text <> 'null' ORDER BY l.seq;
-- Valid JSON, in any reader's eyes, on one line.
SELECT key, jsonb_typeof(convert_from(frame, 'UTF8')::jsonb), convert_from(frame, 'UTF8') ~ '[\u0001-\u001f\u007f]' AS raw
FROM livefeed.log WHERE feed = 'v' ORDER BY seq;

-- A snapshot's rows are the data of each row's last event, byte for byte; under whatever settings.
SET datestyle = 'SQL, DMY'; SET timezone = 'Asia/Tokyo'; SET intervalstyle = 'iso_8601'; SET bytea_output = 'escape'; SET extra_float_digits = -3;
SELECT s.scope, length(s.data) > 1000 AS some, s.data = e.data AS same
FROM (SELECT '[' || string_agg(d.data, ',' ORDER BY d.id DESC) || ']' AS data FROM (
		SELECT DISTINCT ON (l.key) l.key::int AS id, regexp_replace(convert_from(l.frame, 'UTF8'), '^.*?,"data":(.*)\}$', '\1') AS data
		FROM livefeed.log l WHERE l.feed = 'v' ORDER BY l.key, l.seq DESC) d) e,
	LATERAL (SELECT 'all' AS scope, r.data FROM livefeed.snapshot('v', 'all') r
		UNION ALL SELECT 'rows', '[' || (SELECT string_agg(left(right(r.data, -1), -1), ',' ORDER BY n DESC)
			FROM generate_series(1, 3) n, livefeed.snapshot('v', 'row', n::text) r) || ']') s;
RESET ALL;
SET search_path = render;

-- The settings are as they were.
SET datestyle = 'German, DMY'; SET intervalstyle = 'sql_standard';
INSERT INTO v (id, iv, tt) VALUES (4, '1 day', '01:00+00');
SHOW datestyle;
SHOW intervalstyle;
SELECT date '2020-12-31', interval '1 day';
RESET ALL;
SET search_path = render;

-- Keys of several types.
CREATE TABLE k (a timestamptz, b bool, c numeric, d date, e mood, PRIMARY KEY (a, b, c, d, e));
SELECT livefeed.watch('k');
INSERT INTO k VALUES ('2020-01-02 03:04:05+00', false, 1.50, '2020-01-02', 'sad "x"');
SELECT key FROM livefeed.log WHERE feed = 'k';
-- A type that changes while a backend knows it.
ALTER TYPE pair ADD ATTRIBUTE d int;
UPDATE v SET pa = array[row(1, 'b', null, 4)::pair] WHERE id = 4;
ALTER TYPE mood RENAME VALUE 'ok' TO 'fine';
UPDATE v SET m = 'fine' WHERE id = 4;
SELECT convert_from(frame, 'UTF8')::json #>> '{data,pa}', convert_from(frame, 'UTF8')::json #>> '{data,m}'
FROM livefeed.log WHERE feed = 'v' AND key = '4' ORDER BY seq;

SET client_min_messages = warning;
DROP SCHEMA render CASCADE;
