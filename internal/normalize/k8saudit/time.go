package k8saudit

// parseTime parses an RFC 3339 time into nanoseconds since 1970 UTC. Digits
// beyond the nanosecond are dropped. It reports false for anything else and
// for years that do not fit (before 1678 or after 2261). It exists because
// time.Parse takes longer than all the rest of a small event.
func parseTime(s string) (int64, bool) {
	if len(s) < len("2006-01-02T15:04:05Z") || s[4] != '-' || s[7] != '-' || s[10] != 'T' || s[13] != ':' || s[16] != ':' {
		return 0, false
	}
	year, month, day := 100*twoDigits(s[0], s[1])+twoDigits(s[2], s[3]), twoDigits(s[5], s[6]), twoDigits(s[8], s[9])
	hour, minute, second := twoDigits(s[11], s[12]), twoDigits(s[14], s[15]), twoDigits(s[17], s[18])
	if year < 1678 || year > 2261 || month < 1 || month > 12 || day < 1 || day > daysIn(year, month) ||
		hour > 23 || minute > 59 || second > 59 {
		return 0, false
	}
	nanos, rest, ok := parseFraction(s[19:])
	if !ok {
		return 0, false
	}
	offset, ok := parseOffset(rest)
	if !ok {
		return 0, false
	}
	seconds := daysSince1970(year, month, day)*86400 + hour*3600 + minute*60 + second - offset
	return seconds*1e9 + nanos, true
}

// twoDigits returns the number that two digits say, and for anything else one
// that is beyond every field of a time.
func twoDigits(tens, ones byte) int64 {
	tens, ones = tens-'0', ones-'0'
	if tens > 9 || ones > 9 {
		return 1 << 20
	}
	return int64(tens)*10 + int64(ones)
}

// tenTo holds the powers of ten from a nanosecond to a second.
var tenTo = [10]int64{1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9}

// parseFraction reads an optional fraction of a second and returns what follows.
func parseFraction(s string) (nanos int64, rest string, ok bool) {
	if s == "" || s[0] != '.' {
		return 0, s, true
	}
	i := 1
	for ; i < len(s) && s[i]-'0' < 10; i++ {
		if i <= 9 {
			nanos = nanos*10 + int64(s[i]-'0')
		}
	}
	return nanos * tenTo[max(0, 10-i)], s[i:], i > 1
}

// parseOffset reads "Z" or "+hh:mm" as seconds east of UTC.
func parseOffset(s string) (int64, bool) {
	if s == "Z" {
		return 0, true
	}
	if len(s) != len("+00:00") || (s[0] != '+' && s[0] != '-') || s[3] != ':' {
		return 0, false
	}
	digits := [...]byte{s[1] - '0', s[2] - '0', s[4] - '0', s[5] - '0'}
	for _, v := range digits {
		if v > 9 {
			return 0, false
		}
	}
	hours, minutes := int64(digits[0])*10+int64(digits[1]), int64(digits[2])*10+int64(digits[3])
	if hours > 23 || minutes > 59 {
		return 0, false
	}
	offset := hours*3600 + minutes*60
	if s[0] == '-' {
		offset = -offset
	}
	return offset, true
}

func daysIn(year, month int64) int64 {
	switch month {
	case 4, 6, 9, 11:
		return 30
	case 2:
		if year%4 == 0 && (year%100 != 0 || year%400 == 0) {
			return 29
		}
		return 28
	}
	return 31
}

// daysSince1970 counts days in the Gregorian calendar with the year beginning
// in March, so that the leap day comes last.
func daysSince1970(year, month, day int64) int64 {
	if month <= 2 {
		year--
		month += 12
	}
	const to1970 = 719468 // days from 0000-03-01 to 1970-01-01
	return 365*year + year/4 - year/100 + year/400 + (153*(month-3)+2)/5 + day - 1 - to1970
}
