-- Two customers, two partners, somebody who runs it, money, and an order under way.

INSERT INTO users VALUES (1, 'Cora Customer', 'customer'), (2, 'Cole Customer', 'customer'),
    (11, 'Paul Partner', 'partner'), (12, 'Pia Partner', 'partner'), (21, 'Ada Admin', 'admin');

INSERT INTO partners VALUES (11, 'bicycle', 4.50), (12, 'scooter', 5.00);

INSERT INTO menu VALUES ('Pizza', 11.50), ('Ramen', 14.00), ('Curry', 12.50), ('Burger', 9.80), ('Salad', 8.20);

SELECT top_up(1, 200), top_up(2, 100);

SELECT place_order(1, 'Pizza');
SELECT assign(1, 11);
SELECT set_location(1, 0.1, 0.1);
SELECT say(1, 11, 'On my way to the kitchen');

SELECT place_order(2, 'Ramen');
