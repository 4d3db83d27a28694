"""The commands of ``server-jobs schedule``. ``group`` lists them."""
