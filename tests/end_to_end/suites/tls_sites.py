"""Sites where everything goes through TLS, and the authority that issues their certificates."""
from harness.processes import run
from harness.site import Site
from suites.auth import KeySite
from suites.trouble import other_site


class TlsKeySite(KeySite):
    """A server that has everyone come through TLS, with the key that both have."""

    def __init__(self, where, name, tls="required", **options):
        super().__init__(where, name, **options)
        self.export_options += f",tls={tls}"
        self.options += ",tls"


class CertificateSite(Site):
    """The same with certificates. more: further options of the server."""

    def __init__(self, where, name, tls="required", more="", **options):
        super().__init__(where, name, **options)
        self.authority = Authority(self.base / "authority")
        self.authority.issue("server", f"IP:{where.address}")
        self.export_options += f",tls={tls},{self.authority.options('server')}" + more.format(ca=self.authority.ca)
        self.options = f"tls,ca={self.authority.ca}"


class Authority:
    """Issues certificates into its own directory, with openssl(1)."""

    def __init__(self, directory):
        self.directory, self.ca = directory, directory / "ca.pem"
        directory.mkdir()
        self.openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
                     "-subj", f"/CN=authority of {directory.parent.name}", "-keyout", "ca.key", "-out", "ca.pem")

    def issue(self, name, alternative):
        self.openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj",
                     f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.csr")
        (self.directory / f"{name}.ext").write_text(f"subjectAltName={alternative}\n")
        self.openssl("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
                     "-days", "2", "-extfile", f"{name}.ext", "-out", f"{name}.pem")
        (self.directory / f"{name}.key").chmod(0o600)

    def options(self, name):
        return f"cert={self.directory / name}.pem,cert_key={self.directory / name}.key"

    def openssl(self, *arguments):
        run(["openssl", *arguments], cwd=self.directory)


def tls(site, name, kind=TlsKeySite, **options):
    return other_site(site, name, kind, **options)
