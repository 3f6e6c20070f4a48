DROP TABLE consumer_position;
