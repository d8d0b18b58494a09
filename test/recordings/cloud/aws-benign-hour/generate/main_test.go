package main

import (
	"bytes"
	"os"
	"testing"
)

func TestRecordingIsWhatGenerateWrites(t *testing.T) {
	want, err := os.ReadFile("../cloudtrail.json")
	if err != nil {
		t.Fatal(err)
	}
	var got bytes.Buffer
	if err := generate(&got); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got.Bytes(), want) {
		t.Error("cloudtrail.json is not what generate writes; run it again as its comment says")
	}
}
