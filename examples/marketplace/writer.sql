-- A second of the marketplace: the partner moves along his way, and now and then
-- somebody says or orders something.

CREATE FUNCTION make_a_change() RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    due    orders;
    at     double precision := extract(epoch FROM clock_timestamp()) / 40;
    turn   double precision := at - floor(at);                     -- 0 to 1: from the kitchen to the door
    dice   integer := floor(random() * 30);
BEGIN
    FOR due IN SELECT * FROM orders WHERE status IN ('Accepted', 'Picked Up') LOOP
        -- along the streets: east, north, east, north
        PERFORM set_location(due.id,
            0.1 + 0.8 * (greatest(0, least(turn, 0.5) - 0.25) + greatest(0, turn - 0.75)) * 2,
            0.1 + 0.8 * (least(turn, 0.25) + greatest(0, least(turn, 0.75) - 0.5)) * 2);
    END LOOP;
    IF dice = 0 AND (SELECT count(*) FROM orders WHERE status = 'Placed') < 4 AND (SELECT balance FROM wallets WHERE user_id = 2) > 20 THEN
        RETURN format('Cole orders: %s', place_order(2, (ARRAY['Ramen', 'Salad', 'Curry', 'Burger'])[1 + floor(random() * 4)], 12.00));
    ELSIF dice = 1 THEN
        PERFORM notify_user(1, (ARRAY['Coupon: 10% today', 'Rate your last order', 'New kitchen nearby'])[1 + floor(random() * 3)]);
        RETURN 'news for Cora';
    ELSIF dice = 2 THEN
        UPDATE orders SET eta = now() + interval '1 min' * (3 + floor(random() * 20)) WHERE id = 1 AND status IN ('Accepted', 'Picked Up');
        RETURN 'another ETA';
    ELSIF dice = 3 THEN
        PERFORM top_up(2, 20);
        RETURN 'Cole tops up';
    END IF;
    RETURN 'the partner moves';
END $$;
