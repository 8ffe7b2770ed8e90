package cmd

import (
	"encoding"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// A schema is what Config's types say: the keys there are and how to set them.
// Every source (file, environment, flags) sets values through it, so all know
// the same keys and refuse the same things.

// keyOf returns the configuration key of a struct field, "" if it has none.
func keyOf(f reflect.StructField) string {
	key, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
	if key == "-" {
		return ""
	}
	return key
}

// keysOf lists the leaf keys of t below prefix. What a map's or list's entries
// hold is not listed: their keys depend on the entry.
func keysOf(t reflect.Type, prefix string) []string {
	var keys []string
	for f := range t.Fields() {
		switch key := keyOf(f); {
		case key == "":
		case isGroup(f.Type):
			keys = append(keys, keysOf(f.Type, prefix+key+".")...)
		default:
			keys = append(keys, prefix+key)
		}
	}
	return keys
}

// isGroup reports whether t is a struct of further keys rather than a value.
func isGroup(t reflect.Type) bool {
	return t.Kind() == reflect.Struct && !isText(t)
}

func isText(t reflect.Type) bool {
	return reflect.PointerTo(t).Implements(reflect.TypeFor[encoding.TextUnmarshaler]())
}

// fieldAt returns the field of v with a leaf key; with false, the group that a key names.
func fieldAt(v reflect.Value, key string) (reflect.Value, bool) {
	head, rest, deeper := strings.Cut(key, ".")
	for i := range v.NumField() {
		if head == "" || keyOf(v.Type().Field(i)) != head {
			continue
		}
		if !deeper {
			return v.Field(i), !isGroup(v.Field(i).Type())
		}
		if !isGroup(v.Field(i).Type()) {
			break
		}
		return fieldAt(v.Field(i), rest)
	}
	return reflect.Value{}, false
}

// assigner sets values from YAML nodes and collects every problem.
type assigner struct {
	source   string // begins each problem, e.g. a file's name
	problems []error
}

func (a *assigner) fail(node *yaml.Node, key, format string, args ...any) {
	where := a.source
	if node.Line > 0 {
		where += ":" + strconv.Itoa(node.Line)
	}
	a.problems = append(a.problems, fmt.Errorf("%s: %s: %s", where, key, fmt.Sprintf(format, args...)))
}

// assign sets v, which the key leads to, from node.
func (a *assigner) assign(node *yaml.Node, v reflect.Value, key string) {
	if node.Kind == yaml.AliasNode {
		node = node.Alias
	}
	if node.Kind == yaml.ScalarNode && node.Tag == "!!null" {
		return // "key:" without a value says nothing
	}
	switch {
	case isGroup(v.Type()):
		a.assignGroup(node, v, key)
	case v.Kind() == reflect.Map && isGroup(v.Type().Elem()):
		a.assignMap(node, v, key)
	case v.Kind() == reflect.Slice && isGroup(v.Type().Elem()):
		a.assignList(node, v, key)
	default:
		a.assignValue(node, v, key)
	}
}

func (a *assigner) assignGroup(node *yaml.Node, v reflect.Value, key string) {
	a.pairs(node, key, func(name, value *yaml.Node, path string) {
		for i := range v.NumField() {
			if name.Value != "" && keyOf(v.Type().Field(i)) == name.Value {
				a.assign(value, v.Field(i), path)
				return
			}
		}
		var known []string
		for f := range v.Type().Fields() {
			if k := keyOf(f); k != "" {
				known = append(known, k)
			}
		}
		a.fail(name, path, "unknown key%s", suggest(name.Value, known))
	})
}

func (a *assigner) assignMap(node *yaml.Node, v reflect.Value, key string) {
	entries := reflect.MakeMap(v.Type())
	a.pairs(node, key, func(name, value *yaml.Node, path string) {
		entry := reflect.New(v.Type().Elem()).Elem()
		a.assign(value, entry, path)
		entries.SetMapIndex(reflect.ValueOf(name.Value), entry)
	})
	v.Set(entries)
}

func (a *assigner) assignList(node *yaml.Node, v reflect.Value, key string) {
	if node.Kind != yaml.SequenceNode {
		a.fail(node, key, "must be a list")
		return
	}
	list := reflect.MakeSlice(v.Type(), len(node.Content), len(node.Content))
	for i, item := range node.Content {
		a.assign(item, list.Index(i), fmt.Sprintf("%s[%d]", key, i))
	}
	v.Set(list)
}

// pairs calls each for the keys of a mapping, once per key.
func (a *assigner) pairs(node *yaml.Node, key string, each func(name, value *yaml.Node, path string)) {
	if node.Kind != yaml.MappingNode {
		a.fail(node, orTop(key), "must be a group of keys")
		return
	}
	seen := map[string]bool{}
	for i := 0; i+1 < len(node.Content); i += 2 {
		name, value := node.Content[i], node.Content[i+1]
		path := name.Value
		if key != "" {
			path = key + "." + name.Value
		}
		if seen[name.Value] {
			a.fail(name, path, "is given twice")
			continue
		}
		seen[name.Value] = true
		each(name, value, path)
	}
}

func orTop(key string) string {
	if key == "" {
		return "the configuration"
	}
	return key
}

func (a *assigner) assignValue(node *yaml.Node, v reflect.Value, key string) {
	fresh := reflect.New(v.Type())
	if text, ok := reflect.TypeAssert[encoding.TextUnmarshaler](fresh); ok {
		if node.Kind != yaml.ScalarNode {
			a.fail(node, key, "must be a single value")
			return
		}
		if err := text.UnmarshalText([]byte(node.Value)); err != nil {
			a.fail(node, key, "%v", err)
			return
		}
	} else if err := node.Decode(fresh.Interface()); err != nil {
		a.fail(node, key, "%s must be %s", describe(node), kindName(v.Type()))
		return
	}
	v.Set(fresh.Elem())
}

func describe(node *yaml.Node) string {
	if node.Kind == yaml.ScalarNode {
		return strconv.Quote(node.Value)
	}
	return "the value"
}

func kindName(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Bool:
		return "true or false"
	case reflect.Int, reflect.Int64:
		return "a whole number"
	case reflect.Slice:
		return "a list of texts"
	case reflect.Map:
		return "a group of keys with lists of texts"
	default:
		return "a text"
	}
}

// assignText sets a leaf key from the text of a flag or an environment variable.
// Lists are separated by commas; where the value is a group or a list of groups,
// the text is YAML or JSON.
func (a *assigner) assignText(root reflect.Value, key, text string) {
	v, ok := fieldAt(root, key)
	switch {
	case !ok && v.IsValid():
		a.problems = append(a.problems, fmt.Errorf("%s: %s: is a section, not a value; set one of its keys: %s",
			a.source, key, strings.Join(keysOf(v.Type(), key+"."), ", ")))
		return
	case !ok:
		keys := keysOf(root.Type(), "")
		if hint := a.mapHint(root, key, text); hint != "" {
			a.problems = append(a.problems, fmt.Errorf("%s: %s: unknown key; %s", a.source, key, hint))
			return
		}
		a.problems = append(a.problems, fmt.Errorf("%s: %s: unknown key%s", a.source, key, suggest(key, keys)))
		return
	}
	node, err := textNode(v.Type(), text)
	if err != nil {
		a.problems = append(a.problems, fmt.Errorf("%s: %s: %w", a.source, key, err))
		return
	}
	a.assign(node, v, key)
}

// mapHint says how an entry of a group with names of the user's own is set, where key is
// one.
func (a *assigner) mapHint(root reflect.Value, key, text string) string {
	head, rest, _ := strings.Cut(key, ".")
	v, ok := fieldAt(root, head)
	if !ok || v.Kind() != reflect.Map || rest == "" || a.source != "--set" {
		return ""
	}
	segments := strings.Split(rest, ".")
	value := "{" + strings.Join(segments, ": {") + ": " + text + strings.Repeat("}", len(segments))
	return "write all entries as one value: --set '" + head + "=" + value + "'"
}

func textNode(t reflect.Type, text string) (*yaml.Node, error) {
	switch {
	case t.Kind() == reflect.String || isText(t):
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: text}, nil
	case t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.String:
		list := &yaml.Node{Kind: yaml.SequenceNode}
		for item := range strings.SplitSeq(text, ",") {
			if item = strings.TrimSpace(item); item != "" {
				list.Content = append(list.Content, &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: item})
			}
		}
		return list, nil
	}
	var doc yaml.Node
	if err := yaml.Unmarshal([]byte(text), &doc); err != nil || len(doc.Content) != 1 {
		return nil, errors.New("is not a value that YAML can read")
	}
	clearLines(doc.Content[0])
	return doc.Content[0], nil
}

// clearLines drops line numbers, which mean nothing outside a file.
func clearLines(node *yaml.Node) {
	node.Line = 0
	for _, c := range node.Content {
		clearLines(c)
	}
}

// suggest ends the complaint about an unknown name with the nearest known one,
// or with all of them where none is near and there are few.
func suggest(name string, known []string) string {
	best, distance := "", 1+max(2, len(name)/3)
	for _, k := range known {
		if d := editDistance(name, k); d < distance {
			best, distance = k, d
		}
		// A key written without its group: "listen" for "server.listen".
		if strings.HasSuffix(k, "."+name) {
			best, distance = k, 0
		}
	}
	switch {
	case best != "":
		return fmt.Sprintf("; did you mean %s?", best)
	case len(known) <= 16:
		return "; the keys here are " + strings.Join(known, ", ")
	}
	return ""
}

// editDistance is Levenshtein's.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

// sortedKeys of a map, for stable errors and logs.
func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
