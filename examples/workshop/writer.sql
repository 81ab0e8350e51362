-- One realistic change, at random: what the others in the shop do all day.

CREATE FUNCTION make_a_change() RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    dice   integer := floor(random() * 6);
    card   cards;
    target integer;
BEGIN
    SELECT * INTO card FROM cards WHERE shop_id = 7 ORDER BY random() LIMIT 1;
    IF dice = 0 THEN
        PERFORM comment_on(card.id, 'noah', (ARRAY['Done by noon', 'Customer called', 'Part is here', 'Needs a test drive'])[1 + floor(random() * 4)]);
        DELETE FROM comments c WHERE c.id IN (SELECT id FROM comments WHERE shop_id = 7 ORDER BY id DESC OFFSET 12);
        RETURN format('a comment on card %s', card.id);
    ELSIF dice = 1 THEN
        INSERT INTO labels (card_id, name, shop_id, colour) VALUES (card.id, 'urgent', 7, 'red') ON CONFLICT DO NOTHING;
        DELETE FROM labels l WHERE (l.card_id, l.name) IN (SELECT card_id, name FROM labels WHERE shop_id = 7 AND card_id <> card.id ORDER BY random() OFFSET 3);
        RETURN format('a label on card %s', card.id);
    ELSIF dice = 2 THEN
        UPDATE appointments SET status = CASE status WHEN 'Pending' THEN 'Confirmed' WHEN 'Confirmed' THEN 'Done' ELSE 'Pending' END
        WHERE id = (SELECT id FROM appointments WHERE shop_id = 7 ORDER BY random() LIMIT 1);
        RETURN 'an appointment goes on';
    END IF;
    target := (SELECT id FROM board_columns WHERE shop_id = 7 ORDER BY random() LIMIT 1);
    PERFORM move(card.id, target, 1 + floor(random() * 4)::integer, 'noah');
    RETURN format('card %s to column %s', card.id, target);
END $$;
