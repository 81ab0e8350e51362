-- Who looks at the page, each with a token: what the application's login would give
-- them. It says who somebody is; the role comes from the table of users.
SELECT json_agg(json_build_object('user', id::text, 'name', name, 'role', role, 'token', livefeed.issue_token(id::text, NULL, ttl => '12 hours')) ORDER BY id)
FROM users WHERE id IN (1, 11, 21);
