package main

import (
	"fmt"
	"go/ast"
	"go/doc"
	"go/parser"
	"go/token"
	"path"
	"regexp"
	"strconv"
	"strings"
)

const (
	maxLines  = 60
	maxFields = 20
)

// A goFile is a file of Go that is being checked.
type goFile struct {
	name     string
	set      *token.FileSet
	packages map[string]bool // names by which the file calls its imports
	found    []finding
	prose    []paragraph
}

// code checks the declarations of a file, and returns its prose.
func code(name, source string) ([]finding, []paragraph, error) {
	g := &goFile{name: name, set: token.NewFileSet(), packages: map[string]bool{}}
	file, err := parser.ParseFile(g.set, name, source, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return nil, nil, err
	}
	for _, i := range file.Imports {
		g.packages[called(i)] = true
	}
	for _, group := range file.Comments {
		var lines []string
		for _, c := range group.List {
			lines = append(lines, strings.Split(uncomment(c.Text), "\n")...)
		}
		g.prose = append(g.prose, paragraphs(lines, g.line(group))...)
	}
	for _, d := range file.Decls {
		g.declaration(d)
	}
	return g.found, g.prose, nil
}

var version = regexp.MustCompile(`^v[0-9]+$`)

// called returns the name by which a file calls an import, which for other modules is a guess from the path.
func called(i *ast.ImportSpec) string {
	if i.Name != nil {
		return i.Name.Name
	}
	full, _ := strconv.Unquote(i.Path.Value)
	if version.MatchString(path.Base(full)) {
		full = path.Dir(full)
	}
	return strings.TrimSuffix(strings.TrimPrefix(path.Base(full), "go-"), "-go")
}

func (g *goFile) line(n ast.Node) int { return g.set.Position(n.Pos()).Line }

// length returns the number of lines that a node takes.
func (g *goFile) length(n ast.Node) int { return g.set.Position(n.End()).Line - g.line(n) + 1 }

func (g *goFile) report(n ast.Node, words, rule string) {
	g.found = append(g.found, finding{g.name, g.line(n), words, rule})
}

func (g *goFile) declaration(d ast.Decl) {
	receiver := ""
	if f, ok := d.(*ast.FuncDecl); ok {
		g.function(f)
		if f.Recv != nil && len(f.Recv.List[0].Names) > 0 {
			receiver = f.Recv.List[0].Names[0].Name
			g.declared("", f.Recv.List[0].Names...)
		} else if f.Recv == nil {
			g.declared("", f.Name)
		}
		g.fields(f.Type.Params, receiver)
		g.fields(f.Type.Results, receiver)
	}
	ast.Inspect(d, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.ImportSpec:
			return false
		case *ast.StructType:
			for _, f := range n.Fields.List {
				f.Tag = nil
			}
		case *ast.TypeSpec:
			g.specification(n)
		case *ast.FuncLit:
			g.fields(n.Type.Params, receiver)
			g.fields(n.Type.Results, receiver)
		case *ast.AssignStmt:
			if n.Tok == token.DEFINE {
				for _, e := range n.Lhs {
					g.declared(receiver, e.(*ast.Ident))
				}
			}
		case *ast.RangeStmt:
			if n.Tok == token.DEFINE {
				for _, e := range []ast.Expr{n.Key, n.Value} {
					if id, ok := e.(*ast.Ident); ok {
						g.declared(receiver, id)
					}
				}
			}
		case *ast.ValueSpec:
			g.declared(receiver, n.Names...)
		case *ast.BasicLit:
			g.literal(n)
		}
		return true
	})
}

// fields checks names of parameters or results.
func (g *goFile) fields(list *ast.FieldList, receiver string) {
	if list == nil {
		return
	}
	for _, f := range list.List {
		g.declared(receiver, f.Names...)
	}
}

// declared checks names that a declaration brings into scope.
func (g *goFile) declared(receiver string, names ...*ast.Ident) {
	for _, n := range names {
		switch {
		case n.Name == "_":
		case doc.IsPredeclared(n.Name):
			g.report(n, n.Name, "a declaration shadows no builtin")
		case g.packages[n.Name]:
			g.report(n, n.Name, "a declaration shadows no imported package")
		case n.Name == receiver:
			g.report(n, n.Name, "a declaration shadows no receiver")
		}
	}
}

// function checks the length and the parameters of a function.
func (g *goFile) function(f *ast.FuncDecl) {
	n := g.length(f)
	if strings.HasSuffix(g.name, "_test.go") {
		n -= g.tables(f)
	} else if f.Name.IsExported() && (f.Recv == nil || exported(f.Recv.List[0].Type)) {
		g.booleans(f.Name.Name, f.Type)
	}
	if n > maxLines {
		g.report(f, fmt.Sprint(f.Name.Name, " has ", n), fmt.Sprintf("a function has at most %d lines", maxLines))
	}
}

// tables returns the number of lines inside the outermost composite literals of a function.
func (g *goFile) tables(f *ast.FuncDecl) int {
	lines := 0
	ast.Inspect(f, func(n ast.Node) bool {
		c, ok := n.(*ast.CompositeLit)
		if ok {
			lines += g.length(c) - 1
		}
		return !ok
	})
	return lines
}

// exported reports whether the type of a receiver is exported.
func exported(receiver ast.Expr) bool {
	switch e := receiver.(type) {
	case *ast.StarExpr:
		return exported(e.X)
	case *ast.IndexExpr:
		return exported(e.X)
	case *ast.Ident:
		return e.IsExported()
	}
	return false
}

// booleans finds parameters of type bool: a call says nothing by a bare true.
func (g *goFile) booleans(name string, f *ast.FuncType) {
	for _, p := range f.Params.List {
		if id, ok := p.Type.(*ast.Ident); ok && id.Name == "bool" {
			g.report(p, name, "an exported function takes no bool")
		}
	}
}

// specification checks a type: fields of a struct, methods of an interface.
func (g *goFile) specification(t *ast.TypeSpec) {
	switch u := t.Type.(type) {
	case *ast.StructType:
		n := 0
		for _, f := range u.Fields.List {
			if len(f.Names) == 0 {
				n++
			}
			for _, id := range f.Names {
				if id.Name != "_" {
					n++
				}
			}
		}
		if n > maxFields {
			g.report(t, fmt.Sprint(t.Name.Name, " has ", n), fmt.Sprintf("a struct has at most %d fields", maxFields))
		}
	case *ast.InterfaceType:
		for _, m := range u.Methods.List {
			if f, ok := m.Type.(*ast.FuncType); ok && t.Name.IsExported() && m.Names[0].IsExported() {
				g.booleans(m.Names[0].Name, f)
			}
		}
	}
}

// leastWords is the length from which a string literal is taken for prose.
const leastWords = 4

// literal collects a string that reads as a sentence.
func (g *goFile) literal(b *ast.BasicLit) {
	if b.Kind != token.STRING {
		return
	}
	text, err := strconv.Unquote(b.Value)
	if err == nil && len(strings.Fields(text)) >= leastWords {
		for _, p := range paragraphs(strings.Split(text, "\n"), g.line(b)) {
			p.literal = true
			g.prose = append(g.prose, p)
		}
	}
}
