package signaling

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"errors"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"regexp"
	"strings"
	"time"
)

//go:embed page
var pageFiles embed.FS

// pagePolicy lets the page load and reach nothing but this server. The origins that may embed it follow.
const pagePolicy = "default-src 'self'; object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors "

// clusterPolicy comes before it in a cluster. There the page may open sessions at any node, by redirects and events.
const clusterPolicy = "connect-src *; "

// ParseAncestor reads one of Config.FrameAncestors. The quotes of 'self' and 'none' may be missing.
func ParseAncestor(text string) (string, error) {
	switch word := strings.Trim(text, "'"); word {
	case "self", "none":
		return "'" + word + "'", nil
	case "*":
		return word, nil
	}
	if !originPattern.MatchString(text) {
		return "", errors.New("self, none, * or an origin such as https://example.org or https://*.example.org " +
			"expected")
	}
	return text, nil
}

// originPattern is the part of host-source (CSP level 3, section 2.3.1) that has a scheme.
var originPattern = regexp.MustCompile(
	`^https?://(\*\.)?([A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*|\[[0-9a-fA-F:.]+\])(:([0-9]{1,5}|\*))?$`)

// pageTypes are the media types of the page's files. The system's table has other types: it may lack these, or have
// them wrong.
var pageTypes = map[string]string{
	".html": "text/html; charset=utf-8",
	".js":   "text/javascript; charset=utf-8",
	".mjs":  "text/javascript; charset=utf-8",
	".css":  "text/css; charset=utf-8",
	".json": "application/json",
	".svg":  "image/svg+xml",
	".png":  "image/png",
	".ico":  "image/x-icon",
	".txt":  "text/plain; charset=utf-8",
	".wasm": "application/wasm",
}

// page is the files of the page by URL path, and their policy.
type page struct {
	files  map[string]pageFile
	policy string
}

type pageFile struct {
	data              []byte
	contentType, etag string
}

func loadPage(cfg *Config) page {
	ancestors := cfg.FrameAncestors
	if len(ancestors) == 0 {
		ancestors = []string{"'self'"}
	}
	files := make(map[string]pageFile)
	err := fs.WalkDir(pageFiles, "page", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := pageFiles.ReadFile(name)
		if err != nil {
			return err
		}
		f := pageFile{data: data, etag: tagOf(data)}
		extension := path.Ext(name)
		if f.contentType = pageTypes[extension]; f.contentType == "" {
			f.contentType = mime.TypeByExtension(extension)
		}
		if f.contentType == "" {
			f.contentType = "application/octet-stream"
		}
		url := name[len("page"):]
		files[url] = f
		if url == "/index.html" {
			files["/"] = f
		}
		return nil
	})
	if err != nil { // the files are part of the program
		panic(err)
	}
	policy := pagePolicy + strings.Join(ancestors, " ")
	if cfg.Balancer != nil {
		policy = clusterPolicy + policy
	}
	return page{files, policy}
}

func tagOf(data []byte) string {
	sum := sha256.Sum256(data)
	return `"` + base64.RawURLEncoding.EncodeToString(sum[:12]) + `"`
}

// below is the page for a base. Its links are relative, and a browser that asked for /cast would resolve them
// beside it, not below.
func (f pageFile) below(base string) pageFile {
	const head = "<head>\n"
	f.data = bytes.Replace(f.data, []byte(head), []byte(head+`  <base href="`+base+`/">`+"\n"), 1)
	f.etag = tagOf(f.data)
	return f
}

func (p page) serve(w http.ResponseWriter, r *request) error {
	h := w.Header()
	h.Set("Cache-Control", "no-cache")
	f, ok := p.files[r.path]
	if !ok {
		return strayed(r)
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return wrongMethod(r, pageMethods)
	}
	if r.base != "" && strings.HasPrefix(f.contentType, "text/html") {
		f = f.below(r.base)
	}
	h.Set("Content-Security-Policy", p.policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Content-Type", f.contentType)
	h.Set("ETag", f.etag)
	http.ServeContent(w, r.Request, "", time.Time{}, bytes.NewReader(f.data))
	return nil
}
