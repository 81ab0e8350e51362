-- Who looks at the page, each with a token: what the application's login would give
-- them. It says who somebody is; rights come from the memberships.
SELECT json_agg(json_build_object('unit', n.id::text, 'name', n.name, 'user', m.user_id, 'roles', m.roles, 'token', livefeed.issue_token(m.user_id, NULL, ttl => '12 hours')) ORDER BY n.id)
FROM memberships m JOIN units n ON n.id = m.unit_id WHERE m.user_id IN ('bob', 'dave');
