"""Follow one record: is it in the topic, did the group pass it, is it in the index; if not, why."""
