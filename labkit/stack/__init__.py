"""The local stack: real Kafka and Elasticsearch as processes of this machine, no containers."""
