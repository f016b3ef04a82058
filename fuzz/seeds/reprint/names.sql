SELECT @`current_date`, t.x, f(x, CURRENT_DATE => 1) FROM t
