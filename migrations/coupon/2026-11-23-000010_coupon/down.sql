DROP TABLE coupon;
