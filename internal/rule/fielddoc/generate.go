package fielddoc

//go:generate go run ../../../cmd/clew rule fields --write ../../../docs/fields.md
