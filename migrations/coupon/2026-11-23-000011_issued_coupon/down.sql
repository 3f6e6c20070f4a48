DROP TABLE issued_coupon;
