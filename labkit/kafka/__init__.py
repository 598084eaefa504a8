"""What is asked of a Kafka cluster: its clients, who asks patiently, and what its errors mean."""
