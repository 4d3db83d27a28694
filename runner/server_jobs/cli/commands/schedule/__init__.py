"""The commands of ``server-jobs schedule``. ``group`` puts them together."""
