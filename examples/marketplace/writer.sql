-- A second of the marketplace: orders are fetched and brought, their partners move
-- along the way, and now and then somebody orders something or says something.

-- One step from the kitchen (0.1, 0.1) to the door (0.9, 0.9): east, north, east, north.
CREATE FUNCTION step_along(at order_locations, OUT lat double precision, OUT lng double precision) LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN at.lng < 0.5 OR (at.lat >= 0.5 AND at.lng < 0.9) THEN at.lat ELSE least(at.lat + 0.04, CASE WHEN at.lng < 0.9 THEN 0.5 ELSE 0.9 END) END,
           CASE WHEN at.lng < 0.5 THEN least(at.lng + 0.04, 0.5) WHEN at.lat >= 0.5 THEN least(at.lng + 0.04, 0.9) ELSE at.lng END
$$;

CREATE FUNCTION bring(due orders) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    at   order_locations := (SELECT l FROM order_locations l WHERE l.order_id = due.id);
    next record;
BEGIN
    IF due.status = 'Accepted' THEN
        PERFORM set_location(due.id, 0.1, 0.1);
        IF random() < 0.2 THEN
            PERFORM set_status(due.id, due.partner_id, 'Picked Up');
            PERFORM say(due.id, due.partner_id, (ARRAY['Got it, see you soon', 'It smells good', 'Is the bell working?'])[1 + floor(random() * 3)]);
        END IF;
    ELSIF at.lat >= 0.9 THEN
        PERFORM set_status(due.id, due.partner_id, 'Delivered');
        RETURN format('order %s is delivered', due.id);
    ELSE
        SELECT * INTO next FROM step_along(at);
        PERFORM set_location(due.id, next.lat, next.lng);
    END IF;
    RETURN format('order %s moves', due.id);
END $$;

CREATE FUNCTION make_a_change() RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    due  orders;
    what text := 'nothing is on its way';
    dish text := (SELECT m.what FROM menu m ORDER BY random() LIMIT 1);
BEGIN
    FOR due IN SELECT * FROM orders WHERE status IN ('Accepted', 'Picked Up') ORDER BY id LOOP
        what := bring(due);
    END LOOP;
    -- The wallets are filled in time, and Paul is not idle for long.
    PERFORM top_up(user_id, 50) FROM wallets WHERE balance < 20;
    IF NOT EXISTS (SELECT FROM orders WHERE partner_id = 11 AND status IN ('Accepted', 'Picked Up')) AND random() < 0.2 THEN
        PERFORM assign(coalesce((SELECT min(id) FROM orders WHERE status = 'Placed' AND customer_id = 1), place_order(1, dish)), 11);
        RETURN 'Cora orders, Paul brings it';
    ELSIF random() < 0.05 AND (SELECT count(*) FROM orders WHERE status = 'Placed') < 4 THEN
        RETURN format('Cole orders: order %s', place_order(2, dish));
    ELSIF random() < 0.04 THEN
        PERFORM notify_user(1, (ARRAY['Coupon: 10% today', 'Rate your last order', 'New kitchen nearby'])[1 + floor(random() * 3)]);
        RETURN 'news for Cora';
    ELSIF random() < 0.05 THEN
        UPDATE orders SET eta = now() + interval '1 min' * (3 + floor(random() * 20)) WHERE partner_id = 11 AND status IN ('Accepted', 'Picked Up');
        RETURN 'another ETA';
    END IF;
    RETURN what;
END $$;
