"""Speed, measured beside other libraries and other ways."""
