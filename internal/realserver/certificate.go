package realserver

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"path/filepath"
	"testing"
	"time"
)

// Certificates makes in a folder: ca.pem; good.pem and good.key of www.example.org; expired.pem and expired.key of other.example.org;
// client.pem and client.key (RSA); and stranger.pem and stranger.key, which no CA has signed.
func Certificates(t testing.TB, dir string) {
	t.Helper()
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	caKey := ecKey(t)
	now := time.Now()
	ca := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test CA"}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	sign(t, filepath.Join(dir, "ca"), ca, ca, caKey, caKey)
	for i, c := range []struct {
		file, name string
		until      time.Duration
		key        crypto.Signer
		self       bool
	}{
		{"good", "www.example.org", time.Hour, ecKey(t), false},
		{"expired", "other.example.org", -time.Minute, rsaKey, true},
		{"client", "director.example.org", time.Hour, rsaKey, false},
		{"stranger", "stranger.example.org", time.Hour, rsaKey, true},
	} {
		tmpl := &x509.Certificate{SerialNumber: big.NewInt(int64(i + 2)), Subject: pkix.Name{CommonName: c.name}, DNSNames: []string{c.name},
			NotBefore: now.Add(-2 * time.Hour), NotAfter: now.Add(c.until), KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment,
			ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
		if c.self {
			sign(t, filepath.Join(dir, c.file), tmpl, tmpl, c.key, c.key)
		} else {
			sign(t, filepath.Join(dir, c.file), tmpl, ca, c.key, caKey)
		}
	}
}

func ecKey(t testing.TB) crypto.Signer {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// sign writes path.pem and path.key (PKCS #8).
func sign(t testing.TB, path string, c, parent *x509.Certificate, key, by crypto.Signer) {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, c, parent, key.Public(), by)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	write(t, path+".pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	write(t, path+".key", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})))
}
