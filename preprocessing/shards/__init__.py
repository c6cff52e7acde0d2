"""One shard of a job: encoding it, its augmented copies, its report and its verification."""
