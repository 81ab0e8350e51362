-- Two customers, two partners, somebody who runs it, money, and an order under way.

INSERT INTO users VALUES (1, 'Cora Customer', 'customer'), (2, 'Cole Customer', 'customer'),
    (11, 'Paul Partner', 'partner'), (12, 'Pia Partner', 'partner'), (21, 'Ada Admin', 'admin');

INSERT INTO partners VALUES (11, 'bicycle', 4.50), (12, 'scooter', 5.00);

SELECT top_up(1, 200), top_up(2, 100);

SELECT place_order(1, 'Two pizzas', 23.50);
SELECT assign(1, 11);
SELECT set_location(1, 0.15, 0.2);
SELECT say(1, 11, 'On my way to the kitchen');

SELECT place_order(2, 'Ramen', 14.00);
