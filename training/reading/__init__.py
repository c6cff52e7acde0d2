"""Reading an encoded dataset with `tf.data`."""
