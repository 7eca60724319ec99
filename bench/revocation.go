package main

func revocationSuite() (suite, error) {
	all, err := materials()
	if err != nil {
		return suite{}, err
	}
	guard, err := guardTable(all[0])
	if err != nil {
		return suite{}, err
	}
	tables := append(listTables(), guard, frameTable())
	return suite{tables: tables}, nil
}
