-- Who looks at the page, each with a token: what the application's login would give
-- them. It says who somebody is; rights come from the memberships.
SELECT json_agg(json_build_object('user', u.id, 'name', u.name, 'shop', m.shop_id, 'roles', m.roles, 'token', livefeed.issue_token(u.id, NULL, ttl => '12 hours')) ORDER BY u.id <> 'mia')
FROM users u JOIN memberships m ON m.user_id = u.id WHERE u.id IN ('mia', 'noah');
